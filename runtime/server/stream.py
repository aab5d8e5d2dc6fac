"""A stream of server-sent events to a client that may be slow, silent, or gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import structlog
from aiohttp import HttpVersion11, web

from runtime.flags.bounds import Bounds

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
_COMMENT = b": keep-alive\n\n"
# A reader is waited for once 64 KiB are unsent; below that a write cannot stall.
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
        self._transport: asyncio.Transport | None = None
        self._writing = False

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

    @property
    def clear(self) -> bool:
        """Whether `send` may be used now: the head is out, nothing else is being written, and so little is
        unsent that a write cannot stall.
        """
        transport = self._transport
        return (
            transport is not None
            and not self._writing
            and transport.get_write_buffer_size() < _CANNOT_STALL
            and not transport.is_closing()
        )

    def send(self, data: bytes, now: float) -> None:
        """Writes at once, past aiohttp's writer; only where `clear`. `now`: the event loop's time."""
        assert self._transport is not None
        self._last = now
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def start(self) -> None:
        """Sends the head; from then on errors are events."""
        if not self.started:
            self.started = True
            await self.response.prepare(self._request)

    async def write(self, data: bytes) -> None:
        """Writes, the head first, within the deadline; a reader that stalls is cut off, so that its work is
        freed. Raises ConnectionError.
        """
        await self._within_deadline(self.response.write, data)
        if self._request.version >= HttpVersion11:  # else the body is not in HTTP's chunks
            self._transport = self._request.transport

    async def _within_deadline(self, write: Callable[[bytes], Awaitable[None]], data: bytes) -> None:
        seconds = self._bounds.write_timeout_seconds
        self._writing = True
        try:
            async with asyncio.timeout(seconds or None):
                await self.start()
                await write(data)  # sends the head even where there is no data yet
                await self._request.writer.drain()
        except TimeoutError:
            log.warning("reader stalled", request_id=self._request_id, seconds=seconds)
            self._cut()
            raise ConnectionResetError("the reader stalled") from None
        finally:
            self._writing = False
        self._last = self._loop.time()

    async def end(self, data: bytes) -> None:
        """The last that comes."""
        self._transport = None
        try:
            await self._within_deadline(self.response.write_eof, data)
        except asyncio.CancelledError:  # what is on its way cannot be taken back for another end
            self._cut()
            raise

    def _cut(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()

    def _look(self) -> None:
        """Looks at the clock once in a while, so that chunks need not set and clear timers."""
        seconds = self._bounds.keep_alive_seconds
        silent = self._loop.time() - self._last
        if silent >= seconds:
            self._comment = asyncio.create_task(self._say())
            silent = 0.0
        self._timer = self._loop.call_later(seconds - silent, self._look)

    async def _say(self) -> None:
        if self._writing:  # the reader has something to read, and does not
            return
        with contextlib.suppress(ConnectionError):  # the handler is told of it by itself
            await self.write(_COMMENT)
