"""Between SIGTERM and exit: nobody who was taken on is dropped, nobody new is kept waiting."""

from __future__ import annotations

import asyncio
import json

import pytest

from runtime import drain as draining
from runtime import program
from runtime.drain import Signals, drain
from runtime.flags.parse import parse
from runtime.lifecycle import Lifecycle
from runtime.metrics import Metrics
from runtime.server.admission import DRAINING
from runtime.server.service import Service
from runtime.state import Phase, State
from runtime.watchdog import Watchdog

from .serving import Server, reach, serve

BODY = {"model": "m", "prompt": "x" * 40, "max_tokens": 1000, "ignore_eos": True, "stream": True}


async def started(server: Server, body: dict[str, object]) -> asyncio.Task[str]:
    async def read() -> str:
        async with server.http.post(server.url + "/v1/completions", json=body) as answer:
            return await answer.text()

    task = asyncio.create_task(read())
    while not server.engine.load().running:
        await asyncio.sleep(0.005)
    return task


async def test_a_stream_under_way_finishes_and_late_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    over = asyncio.Event()

    async def lame_duck(again: asyncio.Event, seconds: float) -> bool:
        """As long as the test needs it; how long it takes else is the timetable's to show."""
        assert (again.is_set(), seconds) == (False, 60)
        await over.wait()
        return False

    monkeypatch.setattr(draining, "_happens", lame_duck)
    async with serve("--echo_token_seconds=0.02", "--lame_duck_seconds=60", "--drain_seconds=30") as server:
        stream = await started(server, {**BODY, "max_tokens": 50})
        ending = asyncio.create_task(drain(server.service, Signals()))
        await reach(server.service.state, Phase.DRAINING)
        async with server.http.get(server.url + "/ready") as answer:
            assert answer.status == 503
        async with server.http.get(server.url + "/live") as answer:
            assert answer.status == 200
        # Within the lame-duck time a new request is served, and told to come elsewhere next time.
        async with server.http.post(
            server.url + "/v1/completions", json={"model": "m", "prompt": "late"}
        ) as answer:
            assert answer.status == 200
            assert answer.headers["Connection"] == "close"
        over.set()
        while not server.service.refusing:
            await asyncio.sleep(0.01)
        async with server.http.post(
            server.url + "/v1/completions", json={"model": "m", "prompt": "too late"}
        ) as answer:
            assert answer.status == 503
            assert {name: answer.headers[name] for name in DRAINING} == DRAINING
            assert (await answer.json())["error"]["code"] == "draining"
        text = await stream
        assert text.endswith("data: [DONE]\n\n")
        assert '"finish_reason":"length"' in text
        assert await asyncio.wait_for(ending, 20) is True


async def test_at_the_deadline_answers_are_cut_with_a_reason() -> None:
    async with serve("--echo_token_seconds=0.02", "--lame_duck_seconds=0", "--drain_seconds=0.2") as server:
        stream = await started(server, BODY)
        whole = await started(server, {**BODY, "stream": False})
        while len(server.service.in_flight) < 2:
            await asyncio.sleep(0.005)
        assert await asyncio.wait_for(drain(server.service, Signals()), 10) is True
        *_, error, done, _ = (await stream).split("\n\n")
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == "draining"
        assert done == "data: [DONE]"
        assert json.loads(await whole)["error"]["code"] == "draining"
        assert server.engine.load().running == 0


async def test_answers_of_an_engine_that_stalls_are_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM while the watchdog says not ready: the engine may go on, and the end is in order."""
    async with serve("--echo_token_seconds=0.02", "--lame_duck_seconds=0", "--drain_seconds=30") as server:
        stream = await started(server, {**BODY, "max_tokens": 50})
        monkeypatch.setattr(Watchdog, "unready", True)
        assert not server.service.ready
        signals = Signals()
        signals.first.set()

        class Running(Lifecycle):
            def __init__(self) -> None:
                pass

            async def run(self) -> None:
                await asyncio.Event().wait()

        assert await asyncio.wait_for(program._until_end(Running(), server.service, signals), 20) == 0
        assert len(server.service.in_flight) == 0, "the program ends when they have ended"
        assert '"finish_reason":"length"' in await stream


async def test_a_second_signal_ends_it_at_once() -> None:
    async with serve("--echo_token_seconds=0.02", "--lame_duck_seconds=60") as server:
        stream = await started(server, BODY)
        signals = Signals()
        ending = asyncio.create_task(drain(server.service, signals))
        await reach(server.service.state, Phase.DRAINING)
        signals.second.set()
        assert await asyncio.wait_for(ending, 20) is False
        stream.cancel()


async def test_a_person_in_a_terminal_need_not_wait_for_proxies() -> None:
    async with serve("--lame_duck_seconds=60") as server:
        signals = Signals()
        signals.interactive = True
        assert await asyncio.wait_for(drain(server.service, signals), 20) is True


class Timetable:
    """A server's end in virtual time: answers of some length, and when what happened, in seconds."""

    def __init__(self, *flags: str) -> None:
        self.state = State(name="m", model_id="m", revision=None)
        self.service = Service(parse(["--backend=echo", *flags]), self.state, Metrics())
        self.state.enter(Phase.READY)
        self.signals = Signals()
        self.seen: list[tuple[float, str]] = []
        self._answers: list[asyncio.Task[None]] = []

    def note(self, what: str) -> None:
        self.seen.append((round(asyncio.get_running_loop().time(), 3), what))

    def answer(self, name: str, seconds: float) -> None:
        """One more answer under way."""

        async def under_way() -> None:
            with self.service.in_flight.enter():
                try:
                    await asyncio.sleep(seconds)
                    self.note(f"{name} ends")
                except asyncio.CancelledError:
                    problem = self.service.in_flight.cut_short()
                    self.note(f"{name} is cut: {problem.code if problem else None}")

        self._answers.append(asyncio.create_task(under_way()))

    async def _watch(self) -> None:
        ready, refusing = True, False
        while True:
            if self.service.state.phase is Phase.DRAINING and ready:
                ready = False
                self.note("not ready")
            if self.service.refusing and not refusing:
                refusing = True
                self.note("refuses")
            await asyncio.sleep(0.125)

    async def end(self, *, again: float | None = None) -> bool:
        """From the first signal to the last word; `again`: when a second one comes."""
        await asyncio.sleep(1)
        watching = asyncio.create_task(self._watch())
        if again is not None:
            asyncio.get_running_loop().call_later(again, self.signals.second.set)
        result = await drain(self.service, self.signals)
        await asyncio.sleep(0)
        self.note("over")
        for task in (watching, *self._answers):
            task.cancel()
        return result


@pytest.mark.looptime
async def test_the_timetable_of_an_end() -> None:
    """The signal comes at 1: lame duck until 6, then refusals, and what is left at 126 is cut."""
    table = Timetable("--lame_duck_seconds=5", "--drain_seconds=120")
    table.answer("short", 3)
    table.answer("long", 100)
    table.answer("endless", 10_000)
    assert await table.end() is True
    assert table.seen == [
        (1.0, "not ready"),
        (3.0, "short ends"),
        (6.125, "refuses"),  # it is looked at each 0.125 s
        (100.0, "long ends"),
        (126.0, "endless is cut: draining"),
        (126.0, "over"),
    ]


@pytest.mark.looptime
async def test_an_end_with_nothing_under_way_takes_the_lame_duck_time_only() -> None:
    table = Timetable("--lame_duck_seconds=5", "--drain_seconds=120")
    assert await table.end() is True
    assert table.seen[-1] == (6.0, "over")


@pytest.mark.looptime
@pytest.mark.parametrize("again", [2.0, 30.0])
async def test_a_second_signal_ends_every_part_of_it(again: float) -> None:
    """While new requests are still served, and while only those under way are."""
    table = Timetable("--lame_duck_seconds=5", "--drain_seconds=120")
    table.answer("endless", 10_000)
    assert await table.end(again=again) is False
    assert table.seen[-1] == (1 + again, "over")


@pytest.mark.looptime
async def test_an_answer_that_does_not_end_when_cut_is_left_after_seconds() -> None:
    table = Timetable("--lame_duck_seconds=0", "--drain_seconds=10")

    async def deaf() -> None:
        with table.service.in_flight.enter():
            while True:
                try:
                    await asyncio.sleep(1000)
                except asyncio.CancelledError:
                    if table.seen[-1:] == [(16.0, "over")]:
                        raise

    never = asyncio.create_task(deaf())
    assert await table.end() is True
    assert table.seen[-1] == (16.0, "over")
    never.cancel()
