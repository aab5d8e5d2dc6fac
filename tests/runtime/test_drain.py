"""Between SIGTERM and exit: nobody who was taken on is dropped, nobody new is kept waiting."""

from __future__ import annotations

import asyncio
import json

from runtime.drain import Signals, drain
from runtime.server.admission import DRAINING
from runtime.state import Phase

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


async def test_a_stream_under_way_finishes_and_late_ones_are_refused() -> None:
    async with serve("--echo_token_seconds=0.02", "--lame_duck_seconds=0.3", "--drain_seconds=30") as server:
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
        assert await asyncio.wait_for(ending, 5) is True


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


async def test_a_second_signal_ends_it_at_once() -> None:
    async with serve("--echo_token_seconds=0.02", "--lame_duck_seconds=60") as server:
        stream = await started(server, BODY)
        signals = Signals()
        ending = asyncio.create_task(drain(server.service, signals))
        await reach(server.service.state, Phase.DRAINING)
        signals.second.set()
        assert await asyncio.wait_for(ending, 1) is False
        stream.cancel()


async def test_a_person_in_a_terminal_need_not_wait_for_proxies() -> None:
    async with serve("--lame_duck_seconds=60") as server:
        signals = Signals()
        signals.interactive = True
        assert await asyncio.wait_for(drain(server.service, signals), 1) is True
