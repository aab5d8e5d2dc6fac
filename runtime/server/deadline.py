"""How long a request may take: the server's bound, or less where the client says so."""

from __future__ import annotations

import asyncio
import math
import time
from types import TracebackType
from typing import Self

from aiohttp import web

from runtime.flags.bounds import Bounds
from runtime.openai.problem import ApiProblem
from runtime.server.edge import BEGAN
from runtime.server.service import Service

HEADER = "X-Request-Timeout"


def seconds_of(request: web.Request, bounds: Bounds) -> float | None:
    """Seconds that the whole request may take, from its head on; None: no bound. Raises ApiProblem (400)."""
    given = request.headers.get(HEADER)
    most = bounds.request_seconds or None
    if given is None:
        return most
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ApiProblem(400, f"{HEADER} must be a number of seconds above 0.", param=HEADER)
    return min(seconds, most) if most is not None else seconds


def timeout(request: web.Request, seconds: float | None) -> asyncio.Timeout:
    """A context that ends with the request's time."""
    if seconds is None:
        return asyncio.timeout(None)
    return asyncio.timeout(max(0.0, seconds - (time.monotonic() - request[BEGAN])))


def too_long(seconds: float) -> ApiProblem:
    """The 504 for a request whose time is over."""
    return ApiProblem(504, f"The answer was not complete after {seconds:g} s.", code="deadline_exceeded")


class Queue:
    """A context that ends with ApiProblem (503) where sequences of a request wait for their first token for
    the queue's time and none of its others runs: they may get their places one after the other.
    """

    def __init__(self, sequences: int, service: Service) -> None:
        self._seconds = service.settings.bounds.queue_seconds
        self._service = service
        self._waiting = set(range(sequences))
        self._running: set[int] = set()
        self._timeout = asyncio.timeout(self._seconds or None)

    def came(self, index: int, *, last: bool) -> None:
        """Sequence `index` has its first token, or more of them; `last`: it ended."""
        if not self._waiting:
            return
        idle = not self._running
        if index in self._waiting:
            self._waiting.discard(index)
            self._running.add(index)
        if last:
            self._running.discard(index)
        waits = bool(self._waiting) and not self._running
        if waits != idle and self._seconds and not self._timeout.expired():
            when = asyncio.get_running_loop().time() + self._seconds if waits else None
            self._timeout.reschedule(when)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            self._service.metrics.refused.labels("queue_timeout").inc()
            raise ApiProblem(
                503,
                f"Nothing came within {self._seconds:g} s: the server has too much to do.",
                code="queue_timeout",
                headers={"Retry-After": str(self._service.admission.retry_after())},
            ) from None
