"""The watchdog: an engine that has work and makes no step, on a clock of the test's own."""

from __future__ import annotations

import asyncio

import pytest

from runtime import lifecycle
from runtime.engines.base import Load, ModelFacts
from runtime.failures import Failure, Reason
from runtime.text.bytes_tokenizer import BytesTokenizer
from runtime.watchdog import Patience, Watchdog, patience

from .scripted import ScriptedEngine
from .serving import serve


class Counters:
    """What a watchdog sees of an engine."""

    def __init__(self) -> None:
        self.now = 100.0
        self.running = self.waiting = self.done = 0

    def load(self) -> Load:
        return Load(self.running, self.waiting)

    def steps(self) -> int:
        return self.done

    def after(self, watchdog: Watchdog, seconds: float) -> tuple[bool, bool]:
        self.now += seconds
        watchdog.look()
        return watchdog.unready, watchdog.unlive


def watched() -> tuple[Counters, Watchdog]:
    engine = Counters()
    return engine, Watchdog(engine, Patience(20, 60), clock=lambda: engine.now)  # type: ignore[arg-type]


@pytest.mark.parametrize(("running", "waiting"), [(1, 0), (0, 1)])
def test_work_without_a_step_is_unready_and_then_not_live(running: int, waiting: int) -> None:
    engine, watchdog = watched()
    engine.running, engine.waiting = running, waiting
    assert engine.after(watchdog, 19.9) == (False, False)
    assert engine.after(watchdog, 0.1) == (True, False)
    assert engine.after(watchdog, 39.9) == (True, False)
    assert engine.after(watchdog, 0.1) == (True, True)
    engine.done += 1
    assert engine.after(watchdog, 1) == (False, False)


def test_idle_time_is_not_a_stall() -> None:
    engine, watchdog = watched()
    assert engine.after(watchdog, 3600) == (False, False)
    engine.running = 1
    assert engine.after(watchdog, 19) == (False, False)
    engine.running = 0
    assert engine.after(watchdog, 5) == (False, False)


def test_steps_without_a_token_are_progress() -> None:
    """A long prompt in chunks: answers get nothing for minutes, and the engine is well."""
    engine, watchdog = watched()
    engine.running = 1
    for _ in range(30):
        engine.done += 1
        assert engine.after(watchdog, 15) == (False, False)


def test_the_device_and_the_flags_decide_how_long() -> None:
    gpu = ModelFacts(max_model_len=1, tokenizer=BytesTokenizer())
    cpu = ModelFacts(max_model_len=1, tokenizer=BytesTokenizer(), on_cpu=True)
    assert patience(gpu, None, None) == Patience(20, 60)
    assert patience(cpu, None, None) == Patience(120, 600)
    assert patience(cpu, 5, 9) == Patience(5, 9)
    # Whoever waits longer before "not ready" does not want a restart before that.
    assert patience(gpu, 90, None) == Patience(90, 90)


async def test_an_engine_that_never_gives_its_first_token_ends_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Stuck(ScriptedEngine):
        async def push(self, *_: object) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(lifecycle, "_WARM_SECONDS", 0.05)
    async with serve(engine=Stuck(), wait=False) as server:
        with pytest.raises(Failure, match="no first answer within") as failed:
            await server.run
        assert failed.value.reason is Reason.ENGINE_FAILED


async def test_a_stuck_engine_at_the_probes() -> None:
    engine = ScriptedEngine("abcdef")
    async with serve(engine=engine) as server:
        watchdog = server.service.watchdog
        assert watchdog is not None
        now = 0.0
        server.service.watchdog = Watchdog(engine, Patience(20, 60), clock=lambda: now)

        async def probes(seconds: float) -> tuple[int, int]:
            nonlocal now
            now += seconds
            assert server.service.watchdog is not None
            server.service.watchdog.look()
            answers = [server.http.get(f"{server.url}/{path}") for path in ("ready", "live")]
            ready, live = [(await answer).status for answer in answers]
            return ready, live

        engine.hold.clear()
        asking = asyncio.create_task(server.post("/v1/completions", {"model": "m", "prompt": "x"}))
        async with asyncio.timeout(5):
            while not engine.running:
                await asyncio.sleep(0)
        assert await probes(19) == (200, 200)
        assert await probes(1) == (503, 200)
        assert await probes(40) == (503, 503)
        engine.hold.set()
        assert (await asking)[0] == 200
        assert await probes(1) == (200, 200)


async def test_the_flags_are_what_an_engine_with_work_is_given() -> None:
    async with serve("--unready_seconds=3", "--unlive_seconds=7", engine=ScriptedEngine("a")) as server:
        watchdog = server.service.watchdog
        assert watchdog is not None
        for stalled, wanted in ((2.9, (200, 200)), (3.0, (503, 200)), (6.9, (503, 200)), (7.0, (503, 503))):
            watchdog.stalled_seconds = stalled
            answers = [server.http.get(f"{server.url}/{path}") for path in ("ready", "live")]
            assert tuple([(await answer).status for answer in answers]) == wanted
        watchdog.stalled_seconds = 0.0
