"""Tokens on their way to the socket: none is lost, reordered or held too long, whatever stands in the way."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from typing import cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as generated
from hypothesis import strategies as st

from runtime.engines.base import FinishReason
from runtime.failures import Failure
from runtime.flags.parse import parse
from runtime.openai.answers import Piece
from runtime.openai.envelope import Heading
from runtime.openai.responses import CompletionShape
from runtime.server.holding import BUSY, Holding
from runtime.server.outlet import Outlet
from runtime.server.stream import EventStream
from runtime.text.bytes_tokenizer import BytesTokenizer

from .serving import serve

HOLD = 0.018


class Recorder:
    """Stands for the connection: what was written when. `slow`: the reader takes nothing for that long."""

    def __init__(self) -> None:
        self.started = False
        self.slow = False
        self.writing = False
        self.written: list[tuple[float, bytes]] = []

    @property
    def clear(self) -> bool:
        return self.started and not self.writing and not self.slow

    def send(self, data: bytes, now: float) -> None:
        assert self.clear
        self.written.append((now, data))

    async def write(self, data: bytes) -> None:
        self.started = self.writing = True
        while self.slow:
            await asyncio.sleep(0.001)
        self.writing = False
        self.written.append((asyncio.get_running_loop().time(), data))


def said(data: bytes) -> list[tuple[int, str]]:
    """The text of each chunk, by choice."""
    events = [json.loads(line[6:]) for line in data.decode().split("\n") if line.startswith("data: {")]
    return [(choice["index"], choice["text"]) for event in events for choice in event["choices"]]


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 0.0002, 0.004, 0.03]),  # seconds until it comes
        st.integers(0, 2),  # the choice
        st.text(max_size=3),
        st.sampled_from([None, None, None, None, True, False]),  # whether the reader is slow from here on
    ),
    max_size=60,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@generated(steps=STEPS, busy=st.booleans())
@pytest.mark.looptime
async def test_whatever_comes_goes_out_in_order_and_in_time(
    steps: list[tuple[float, int, str, bool | None]], busy: bool
) -> None:
    loop = asyncio.get_running_loop()
    stream, holding = Recorder(), Holding(HOLD if busy else 0.0)
    chunks = CompletionShape(Heading("i", "m", 1), BytesTokenizer(), logprobs=None).stream(
        3, include_usage=False
    )
    outlet = Outlet(cast(EventStream, stream), chunks, holding, 3, opening=b"data: [opening]\n\n")
    for _ in range(2 * BUSY):  # enough for the next seconds to count as load
        holding.counted(loop.time())
    holding.counted(loop.time() + 0.2)
    taken: list[tuple[float, int, str]] = []
    blocked: list[float] = []

    async def engine() -> None:
        for seconds, index, text, slow in steps:
            await asyncio.sleep(seconds)
            if slow is not None:
                stream.slow = slow
            if stream.slow:
                blocked.append(loop.time())
            taken.append((loop.time(), index, text))
            outlet.take(Piece(index, text, 1, None, ()))
        await asyncio.sleep(0.1)
        stream.slow = False
        for index in range(3):
            outlet.take(Piece(index, "", 1, FinishReason.LENGTH, ()))

    await outlet.flow(asyncio.create_task(engine()))
    stream.written.append((loop.time(), outlet.rest()))

    assert b"".join(data for _, data in stream.written).startswith(b"data: [opening]")
    expected: dict[int, str] = defaultdict(str)
    for _, index, text in taken:
        expected[index] += text
    got: dict[int, str] = defaultdict(str)
    out: list[tuple[float, int, int]] = []  # when how many characters of which choice were out
    for at, data in stream.written:
        for index, text in said(data):
            got[index] += text
            out.append((at, index, len(got[index])))
    assert {index: text for index, text in got.items() if text} == {
        index: text for index, text in expected.items() if text
    }
    if blocked:  # then it is the reader who holds
        return
    came: dict[int, int] = defaultdict(int)
    for at, index, text in taken:
        if not text:
            continue
        came[index] += len(text)
        done = min((when for when, which, size in out if which == index and size >= came[index]))
        assert done - at <= HOLD + 1e-6


@pytest.mark.looptime
async def test_it_is_held_only_under_load() -> None:
    holding = Holding(HOLD)
    # Half the pace of load, for a second; then twice.
    assert not any(holding.counted(count / (BUSY / 2)) for count in range(BUSY // 2))
    assert all(holding.counted(2 + count / (BUSY * 2)) for count in range(BUSY)) is False
    assert [holding.counted(3 + count / (BUSY * 2)) for count in range(BUSY)][-1]
    # The first after a pause goes out at once.
    assert not holding.counted(10)
    assert not any(Holding(0).counted(count / 1e6) for count in range(10_000))


@pytest.mark.parametrize(("flag", "fewest", "most"), [("--hold_seconds=0", 5000, 5000), ("", 2, 2000)])
async def test_a_fast_answer(flag: str, fewest: int, most: int) -> None:
    """Through the whole server: the same text, in a chunk for each token or in fewer."""
    async with serve(*[flag] * bool(flag)) as server:
        body = {"model": "m", "prompt": "abc", "max_tokens": 5000, "ignore_eos": True, "stream": True}
        for _ in range(3):  # the first ones are over before the load is known
            async with server.http.post(server.url + "/v1/completions", json=body) as answer:
                text = await answer.read()
        pieces = said(text.replace(b",data: [DONE]", b""))
        assert "".join(piece for _, piece in pieces) == ("abc" * 2000)[:5000]
        assert fewest <= len(pieces) <= most


def test_no_token_may_be_held_longer() -> None:
    assert [
        parse(["--backend=echo", f"--hold_seconds={given}"]).bounds.hold_seconds for given in ("0", "0.02")
    ] == [0.0, 0.02]
    for given in ("0.021", "-1", "nan"):
        with pytest.raises(Failure, match=r"0 to 0\.02"):
            parse(["--backend=echo", f"--hold_seconds={given}"])
