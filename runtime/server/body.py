"""Reading a request's JSON body: typed, bounded in size, in time and in shape."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError

from runtime.flags.bounds import Bounds
from runtime.openai.problem import ApiProblem
from runtime.server import expecting

_CLOSE = {"Connection": "close"}


async def read_json(request: web.Request, bounds: Bounds) -> Any:
    """The body as JSON. Raises ApiProblem: 400 not JSON or of too much, 408 too slow, 413 too large, 415
    another type.
    """
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
        raw = await _read(request, bounds)
    except TimeoutError:
        raise ApiProblem(408, "The body did not arrive in time.", code="timeout", headers=_CLOSE) from None
    except (ClientPayloadError, HttpProcessingError, web.RequestPayloadError):
        raise ApiProblem(400, "The body is not as its head says.", headers=_CLOSE) from None
    return parse_json(raw, bounds)


async def _read(request: web.Request, bounds: Bounds) -> bytes:
    if (request.content_length or 0) > bounds.max_body_bytes:
        raise _too_large(bounds)
    await expecting.ask(request)
    chunks: list[bytes] = []
    size = 0
    async with asyncio.timeout(bounds.body_read_seconds or None):
        while True:
            async with asyncio.timeout(bounds.body_idle_seconds or None):
                chunk = await request.content.readany()
            if not chunk:
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)
            chunks.append(chunk)
            size += len(chunk)
            if size > bounds.max_body_bytes:
                raise _too_large(bounds)


def _too_large(bounds: Bounds) -> ApiProblem:
    return ApiProblem(413, f"The body is larger than {bounds.max_body_bytes} bytes.", headers=_CLOSE)


def parse_json(raw: bytes, bounds: Bounds) -> Any:
    """A body's bytes as JSON. Raises ApiProblem (400)."""
    counted = _Counted(bounds)
    try:
        document = json.loads(raw.decode(), parse_constant=_refuse, object_pairs_hook=counted.object)
    except (ValueError, RecursionError):
        raise ApiProblem(400, "The body is not valid JSON.", code="invalid_json") from None
    _check_depth(document, bounds.max_json_depth)
    return document


class _Counted:
    """Builds objects, counting their keys; a key given twice has no one meaning."""

    def __init__(self, bounds: Bounds) -> None:
        self._most = bounds.max_json_keys
        self._keys = 0

    def object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self._keys += len(pairs)
        if self._keys > self._most:
            raise ApiProblem(400, f"The body has more than {self._most} keys.", code="invalid_json")
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            shown = twice.encode(errors="replace").decode()[:64]
            raise ApiProblem(400, f"The body has the key `{shown}` twice.", param=shown, code="invalid_json")
        return made


def _check_depth(document: Any, most: int) -> None:
    level = [document]
    for _ in range(most):
        level = [
            child
            for each in level
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise ApiProblem(400, f"The body is nested deeper than {most}.", code="invalid_json")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
