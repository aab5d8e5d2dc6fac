"""How long a request may take: the server's bound, or less where the client says so."""

from __future__ import annotations

import asyncio
import math
import time

from aiohttp import web

from runtime.flags.bounds import Bounds
from runtime.openai.problem import ApiProblem
from runtime.server.edge import BEGAN

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


def queued_too_long(seconds: float) -> ApiProblem:
    """The 503 for a request that got no first token in time."""
    return ApiProblem(
        503,
        f"No token came within {seconds:g} s: the server has too much to do.",
        code="queue_timeout",
        headers={"Retry-After": str(max(1, math.ceil(seconds / 2)))},
    )
