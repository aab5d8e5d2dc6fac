"""Deadlines at both ends of an answer: every sequence begins in time; its end may be read slowly."""

from __future__ import annotations

import asyncio
import json
import math
import socket
from collections.abc import AsyncGenerator, Sequence

import pytest

from runtime.engines.base import Delta, EngineBusy, Sampling, TokenLogprob
from runtime.openai.encoding import encode

from .scripted import ScriptedEngine
from .serving import serve

COMPLETION = "/v1/completions"


class FirstOnly(ScriptedEngine):
    """Begins a request's first sequence, and no other."""

    async def generate(
        self, request_id: str, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Delta, None]:
        if request_id != "warm-up" and not request_id.endswith("-0"):
            await asyncio.Event().wait()
        async for delta in super().generate(request_id, prompt, sampling):
            yield delta


class OneByOne(ScriptedEngine):
    """Works on one sequence at a time, `seconds` from its first token to its second."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text)
        self._seconds = seconds
        self._one = asyncio.Lock()

    async def generate(
        self, request_id: str, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Delta, None]:
        async with self._one:
            async for delta in super().generate(request_id, prompt, sampling):
                yield delta
                if request_id != "warm-up" and delta.finish_reason is None:
                    await asyncio.sleep(self._seconds / 4)


class Certain(ScriptedEngine):
    """Gives a log probability with each token."""

    async def generate(
        self, request_id: str, prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[Delta, None]:
        async for delta in super().generate(request_id, prompt, sampling):
            delta.logprobs = tuple(TokenLogprob(token, -1.0, ((token, -1.0),)) for token in delta.token_ids)
            yield delta


@pytest.mark.parametrize("stream", [False, True])
async def test_each_sequence_has_to_begin_in_time(stream: bool) -> None:
    """One choice that has all its tokens does not keep another waiting without end."""
    engine = FirstOnly("a long answer")
    async with serve("--queue_seconds=0.3", engine=engine) as server:
        body = {"model": "m", "prompt": ["x", "y"], "stream": stream, "max_tokens": 9}
        async with server.http.post(server.url + COMPLETION, json=body) as answer:
            text = await answer.text()
        if stream:
            error = json.loads(text.split("\n\n")[-3].removeprefix("data: "))["error"]
            assert (answer.status, text.endswith("data: [DONE]\n\n")) == (200, True)
        else:
            error = json.loads(text)["error"]
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) >= 1
        assert error["code"] == "queue_timeout"
        async with asyncio.timeout(5):
            while engine.running or server.service.admission.sequences:
                await asyncio.sleep(0.005)


async def test_a_sequence_that_has_begun_may_take_longer() -> None:
    engine = ScriptedEngine("a long answer")
    engine.pause.clear()
    async with serve("--queue_seconds=0.2", engine=engine) as server:
        asyncio.get_running_loop().call_later(0.5, engine.pause.set)
        body = {"model": "m", "prompt": ["x", "y"], "max_tokens": 9}
        status, answer = await server.post(COMPLETION, body)
        assert (status, len(answer["choices"])) == (200, 2)  # type: ignore[arg-type]


async def test_sequences_may_get_their_places_one_after_the_other() -> None:
    """Each takes longer than the queue's time, and none is waited for longer than that."""
    engine = OneByOne("a long answer", seconds=0.4)
    async with serve("--queue_seconds=0.2", engine=engine) as server:
        body = {"model": "m", "prompt": ["x", "y", "z"], "max_tokens": 9}
        status, answer = await server.post(COMPLETION, body)
        assert (status, len(answer["choices"])) == (200, 3)  # type: ignore[arg-type]


async def test_embeddings_are_bounded_by_the_requests_time() -> None:
    engine = ScriptedEngine()
    engine.vectors = [[1.0, 0.0]]
    async with serve("--queue_seconds=0.1", "--request_seconds=0.4", engine=engine) as server:
        asyncio.get_running_loop().call_later(0.2, engine.hold.set)
        engine.hold.clear()
        status, _ = await server.post("/v1/embeddings", {"model": "m", "input": "x"})
        assert (status, server.service.admission.waiting_tokens) == (200, 0)
        engine.hold.clear()
        status, answer = await server.post("/v1/embeddings", {"model": "m", "input": ["x", "y"]})
        assert (status, answer["error"]["code"]) == (504, "deadline_exceeded")  # type: ignore[index]


@pytest.mark.parametrize("seconds", [None, 0.4])
async def test_an_end_that_is_read_slowly_is_one_end(seconds: float | None) -> None:
    """The request's time ends while the answer's last chunk is on its way: it still comes whole, and once."""
    engine = ScriptedEngine("long " * 100_000, step=500_000)
    async with serve("--write_timeout_seconds=20", engine=engine) as server:
        host, port = server.url.removeprefix("http://").split(":")
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
        reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
        body = json.dumps({"model": "m", "prompt": "x", "stream": True, "max_tokens": 9}).encode()
        head = (
            f"POST {COMPLETION} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        )
        more = f"X-Request-Timeout: {seconds}\r\n" if seconds else ""
        writer.write((head + more + "\r\n").encode() + body)
        await asyncio.sleep(0.8)
        assert len(server.service.in_flight) == 1  # its end waits for the reader
        async with asyncio.timeout(20):
            raw = await reader.read(-1)
        writer.close()
        assert raw.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert raw.count(b"[DONE]") == raw.count(b"\r\n0\r\n\r\n") == 1
        assert (b'"error"' not in raw, raw.count(b"long ")) == (True, 100_000)


async def test_bytes_of_tokens_join_in_a_stream() -> None:
    engine = Certain("é👋 end", step=1)
    async with serve(engine=engine) as server:
        stream = await server.openai.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}], stream=True, logprobs=True
        )
        choices = [chunk.choices[0] async for chunk in stream]
    tokens = [each for choice in choices if choice.logprobs for each in choice.logprobs.content or ()]
    assert b"".join(bytes(each.bytes or ()) for each in tokens).decode() == "é👋 end"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_number_is_written_that_json_has_not(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode({"logprob": number})


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_with_such_a_number_is_an_error(
    stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.openai.responses._finite", lambda logprob: math.nan)

    engine = Certain("abc", step=1)
    engine.hold.clear()
    body = {"model": "m", "prompt": ["x", "y"], "stream": stream, "logprobs": 1, "max_tokens": 9}
    async with serve("--keep_alive_seconds=0.1", engine=engine) as server:
        # A stream has begun when the number comes, and is to be written in a turn of the event loop's own.
        asyncio.get_running_loop().call_later(0.3, engine.hold.set)
        async with server.http.post(server.url + COMPLETION, json=body) as answer:
            text = await answer.text()
        assert '"code":"internal_error"' in text
        assert "NaN" not in text
        assert (answer.status, text.endswith("data: [DONE]\n\n")) == ((200, True) if stream else (500, False))
        async with asyncio.timeout(5):
            while engine.running or server.service.admission.sequences:
                await asyncio.sleep(0.005)


async def test_what_an_engine_refuses_late_keeps_its_name() -> None:
    """A stream has begun, with a comment, when the engine's queue is full; the event says that."""

    class Full(ScriptedEngine):
        async def generate(
            self, request_id: str, prompt: Sequence[int], sampling: Sampling
        ) -> AsyncGenerator[Delta, None]:
            async for delta in super().generate(request_id, prompt, sampling):
                if request_id != "warm-up":
                    raise EngineBusy
                yield delta

    engine = Full("abc")
    engine.hold.clear()
    async with serve("--keep_alive_seconds=0.05", engine=engine) as server:
        asyncio.get_running_loop().call_later(0.2, engine.hold.set)
        body = {"model": "m", "prompt": "x", "stream": True}
        async with server.http.post(server.url + COMPLETION, json=body) as answer:
            events = (await answer.text()).split("\n\n")
    error = json.loads(events[-3].removeprefix("data: "))["error"]
    assert (answer.status, error["code"], error["type"]) == (200, "overloaded", "rate_limit_error")
