"""Reading a request's JSON body: typed, bounded in size and time."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn

from aiohttp import web

from runtime.openai.problem import ApiProblem

_READ_SECONDS = 30.0


async def read_json(request: web.Request) -> Any:
    """The body as JSON. Raises ApiProblem: 400 not JSON, 408 too slow, 413 too large, 415 another type."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        # A small compressed body can become a very large one.
        raise ApiProblem(415, "Compressed bodies are not accepted.", code="unsupported_media_type")
    if "Content-Type" in request.headers and request.content_type != "application/json":
        raise ApiProblem(
            415,
            f"The body must be application/json, not {request.content_type[:100]}.",
            code="unsupported_media_type",
        )
    try:
        async with asyncio.timeout(_READ_SECONDS):
            raw = await request.read()
    except TimeoutError:
        raise ApiProblem(
            408, "The body did not arrive in time.", code="timeout", headers={"Connection": "close"}
        ) from None
    try:
        return json.loads(raw.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise ApiProblem(400, "The body is not valid JSON.", code="invalid_json") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
