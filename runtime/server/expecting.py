"""`Expect: 100-continue`: a body is asked for once its request is let in (RFC 9110, 10.1.1).

aiohttp would ask for it before anything of ours runs, and answers in its own words where it knows no route.
So the header is hidden from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import HttpVersion11, hdrs, web

from runtime.openai.problem import ApiProblem

_ASKED = web.RequestKey("asked", bool)


def hidden(make: Callable[..., web.BaseRequest]) -> Callable[..., web.BaseRequest]:
    """A request factory whose requests have no `Expect` among `headers`; `raw_headers` have it still."""

    def made(message: Any, *more: Any) -> web.BaseRequest:
        if hdrs.EXPECT in message.headers:
            headers = message.headers.copy()
            headers.popall(hdrs.EXPECT)
            message = message._replace(headers=headers)
        return make(message, *more)

    return made


def _expected(request: web.BaseRequest) -> set[str]:
    lines = [
        value.decode(errors="replace") for name, value in request.raw_headers if name.lower() == b"expect"
    ]
    return {each.strip().lower() for each in ",".join(lines).split(",")} - {""}


def require_understood(request: web.BaseRequest) -> None:
    """Refuses (417) whatever else is expected."""
    if _expected(request) - {"100-continue"}:
        raise ApiProblem(417, "Only `Expect: 100-continue` is understood.", code="invalid_value")


def waits(request: web.BaseRequest) -> bool:
    """Whether the client may still wait to be asked for its body, and so never send it."""
    if request.version < HttpVersion11 or not request.body_exists or request.get(_ASKED):
        return False
    return bool(_expected(request))


async def ask(request: web.BaseRequest) -> None:
    """Says 100 Continue where the client waits for it."""
    if waits(request):
        request[_ASKED] = True
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await request.writer.drain()
        request.writer.output_size = 0  # so that an error may still be answered
