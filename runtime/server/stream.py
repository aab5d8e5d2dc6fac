"""A stream of server-sent events to a client that may be slow, silent, or gone."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import structlog
from aiohttp import web

from runtime.flags.bounds import Bounds
from runtime.openai.chunks import DONE
from runtime.openai.encoding import encode
from runtime.openai.problem import ApiProblem

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
_COMMENT = b": keep-alive\n\n"
# aiohttp waits for a reader once 64 KiB are unsent; below that a write cannot stall.
_CANNOT_STALL = 32 * 1024

log = structlog.get_logger()


class EventStream:
    """A context: inside it a silent stream gets a comment now and then, so that proxies keep it open."""

    def __init__(self, request: web.Request, bounds: Bounds, request_id: str) -> None:
        self._request = request
        self._bounds = bounds
        self._request_id = request_id
        self.response = web.StreamResponse(headers=_HEADERS)
        self.started = False
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._comment: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        if self._bounds.keep_alive_seconds:
            self._timer = self._loop.call_later(self._bounds.keep_alive_seconds, self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._comment is not None:
            self._comment.cancel()

    async def start(self) -> None:
        """Sends the head; from then on errors are events."""
        if not self.started:
            self.started = True
            await self.response.prepare(self._request)

    async def write(self, data: bytes) -> None:
        """Writes within the deadline; a reader that stalls is cut off, so that its work is freed.

        Raises ConnectionError.
        """
        self._last = self._loop.time()
        transport = self._request.transport
        if transport is not None and transport.get_write_buffer_size() + len(data) < _CANNOT_STALL:
            await self.response.write(data)
            return
        seconds = self._bounds.write_timeout_seconds
        try:
            async with asyncio.timeout(seconds or None):
                await self.response.write(data)
        except TimeoutError:
            log.warning("reader stalled", request_id=self._request_id, seconds=seconds)
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionResetError("the reader stalled") from None
        self._last = self._loop.time()

    async def fail(self, problem: ApiProblem) -> None:
        """Once a stream has begun, an error is an event of its own, then the end."""
        await self.write(b"data: " + encode(problem.document()) + b"\n\n" + DONE)

    async def end(self) -> None:
        """Nothing more comes."""
        await self.response.write_eof()

    def _look(self) -> None:
        """Looks at the clock once in a while, so that chunks need not set and clear timers."""
        seconds = self._bounds.keep_alive_seconds
        silent = self._loop.time() - self._last
        if silent >= seconds:
            self._comment = asyncio.create_task(self._say())
            silent = 0.0
        self._timer = self._loop.call_later(seconds - silent, self._look)

    async def _say(self) -> None:
        try:
            await self.start()
            await self.write(_COMMENT)
        except ConnectionError:
            pass  # the handler is told of it by itself
