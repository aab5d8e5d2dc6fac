"""One call on the API server: a timeout, the status before the body, and waiting out overload."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
import structlog

from stoker.kube.errors import ApiError, ConnectionFailed
from stoker.kube.resource import Object

log = structlog.get_logger()

_CONNECT_SECONDS = 10.0
_CALL_SECONDS = 30.0  # the server itself gives up on a call after 60 s; a sound one answers in less than 1
_TRIES = 4
_LONGEST_PAUSE = 5.0  # a longer Retry-After is the caller's to wait for, without holding a worker

JSON = "application/json"
APPLY = "application/apply-patch+yaml"  # JSON is YAML
MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True)
class Request:
    """One call. `idempotent`: done twice it leaves what once would, so that a 5xx may be retried."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Object | None = None
    content_type: str = JSON
    idempotent: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)


class Transport(Protocol):
    """What carries requests: connections, TLS and who we are."""

    async def send(self, request: Request, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        """Send; return once the reply's head is there. Raises aiohttp.ClientError, TimeoutError, OSError."""

    async def refresh_credentials(self) -> bool:
        """Read them anew after a 401; true when they changed, so that another try makes sense."""


class Calls:
    """Sends requests over a transport. `before_write` runs before each write and may raise to stop it."""

    def __init__(self, transport: Transport, before_write: Callable[[], None] | None = None) -> None:
        self._transport = transport
        self._before_write = before_write
        self._warned: set[str] = set()

    def fenced(self, before_write: Callable[[], None]) -> Calls:
        """The same transport, behind that fence."""
        return Calls(self._transport, before_write)

    async def call(self, request: Request) -> Object:
        """The reply's JSON. Overload is waited out a few times, where the server says for how long."""
        for attempt in range(1, _TRIES + 1):
            try:
                async with self.reply(request, _CALL_SECONDS) as reply:
                    return _parse(await reply.read())
            except ApiError as error:
                pause = await self._pause_before_retry(request, error, attempt)
                if pause is None:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def page(self, request: Request, seconds: float) -> tuple[int, bytes]:
        """Status and body of one try, whatever they are: a page behind the API server may answer anything."""
        limit = aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, _CONNECT_SECONDS))
        if self._before_write is not None and request.method != "GET":
            self._before_write()
        try:
            async with await self._transport.send(request, limit) as reply:
                return reply.status, await reply.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ConnectionFailed(
                f"{request.method} {request.path}: {str(error) or type(error).__name__}"
            ) from error

    async def _pause_before_retry(self, request: Request, error: ApiError, attempt: int) -> float | None:
        """Seconds until the request may be sent again; None where it may not."""
        if attempt == _TRIES:
            return None
        if error.status == 401:  # the token was rotated: try again if there is a new one
            return 0.0 if await self._transport.refresh_credentials() else None
        if error.retry_after is None or error.retry_after > _LONGEST_PAUSE:
            return None
        # 429 means not begun, so anything may be sent again; after a 5xx a create may have happened.
        if error.status == 429 or (error.status >= 500 and request.idempotent):
            return error.retry_after
        return None

    @asynccontextmanager
    async def reply(self, request: Request, seconds: float) -> AsyncIterator[aiohttp.ClientResponse]:
        """The reply of a request that succeeded, its body unread; all of it within so many seconds."""
        limit = aiohttp.ClientTimeout(total=seconds, sock_connect=_CONNECT_SECONDS)
        if self._before_write is not None and request.method != "GET":
            self._before_write()
        try:
            reply = await self._transport.send(request, limit)
            async with reply:
                self._log_warnings(reply)
                if reply.status >= 300:
                    raise ApiError.from_reply(
                        reply.status, await reply.read(), reply.reason, reply.headers.get("Retry-After")
                    )
                yield reply
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            what = str(error) or type(error).__name__  # a TimeoutError has no words of its own
            raise ConnectionFailed(f"{request.method} {request.path}: {what}") from error

    def _log_warnings(self, reply: aiohttp.ClientResponse) -> None:
        """The server's remarks (an unknown field, a version that will go), each once."""
        for warning in reply.headers.getall("Warning", []):
            if warning not in self._warned and len(self._warned) < 1000:
                self._warned.add(warning)
                log.warning("the API server warns", warning=warning, path=reply.url.path)


def _parse(body: bytes) -> Object:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise ConnectionFailed(f"the reply is not JSON: {body[:100]!r}") from error
    if not isinstance(document, dict):
        raise ConnectionFailed(f"the reply is not an object: {body[:100]!r}")
    return document
