"""Streams as a client sees them: many at once, each chunk's time noted, nothing parsed while they run."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

CHUNK, END = b"data: {", b"data: [DONE]"
_TOKENS = re.compile(rb'"completion_tokens": ?(\d+)')
_KEPT = 2000


@dataclass
class Seen:
    """What one stream brought; seconds since its request was sent."""

    first: float = 0.0
    gaps: list[float] = field(default_factory=list)
    last: float = 0.0
    chunks: int = 0
    tokens: int = 0


class Stream(asyncio.Protocol):
    """One request on a connection of its own. `before_text`: chunks before the first with text (the role)."""

    def __init__(self, before_text: int) -> None:
        self.seen = Seen()
        self.done: asyncio.Future[Seen] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self._before_text = before_text
        self._began = 0.0
        self._rest = b""
        self._end = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the connection for `ask`."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, request: bytes) -> None:
        """Sends the request; time counts from here."""
        assert self.transport is not None
        self._began = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Counts chunks: their beginnings may fall between two packets."""
        now = time.perf_counter() - self._began
        seen = self.seen
        data = self._rest + data
        chunks = data.count(CHUNK)
        self._rest = data[-len(CHUNK) + 1 :]
        self._end = (self._end + data)[-_KEPT:]
        if chunks:
            seen.chunks += chunks
            if not seen.first:
                if seen.chunks > self._before_text:
                    seen.first = now
            else:
                seen.gaps.append(now - seen.last)
            seen.last = now
        if END in self._end and not self.done.done():
            found = _TOKENS.findall(self._end)
            seen.tokens = int(found[-1]) if found else 0
            self.done.set_result(seen)

    def connection_lost(self, exc: Exception | None) -> None:
        """A stream that ends early is an error of the measurement."""
        if not self.done.done():
            text = self._end.decode(errors="replace")
            self.done.set_exception(ConnectionError(f"the stream ended early ({exc}): {text}"))


def request(path: str, model: str, text: str, max_tokens: int) -> bytes:
    """A streamed request for exactly `max_tokens` tokens."""
    body: dict[str, object] = {
        "model": model, "max_tokens": max_tokens, "ignore_eos": True, "temperature": 0, "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    if path.endswith("/chat/completions"):
        body["messages"] = [{"role": "user", "content": text}]
    else:
        body["prompt"] = text
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


async def together(port: int, requests: Sequence[bytes], *, before_text: int = 0) -> tuple[list[Seen], float]:
    """Asks all at once, each on a connection opened before; what each saw, and the seconds until the last
    one's end.
    """
    loop = asyncio.get_running_loop()
    streams = []
    for _ in requests:
        _, stream = await loop.create_connection(lambda: Stream(before_text), "127.0.0.1", port)
        streams.append(stream)
    await asyncio.sleep(0.05)
    began = time.perf_counter()
    for stream, data in zip(streams, requests, strict=True):
        stream.ask(data)
    try:
        seen = list(await asyncio.gather(*(stream.done for stream in streams)))
        return seen, time.perf_counter() - began
    finally:
        for stream in streams:
            if stream.transport is not None:
                stream.transport.abort()
