"""Around every request: its id, the error shape, the access log, the counts."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from runtime.engines.base import EngineBusy, EngineDead, EngineRefused
from runtime.openai.encoding import encode
from runtime.openai.problem import ApiProblem, engine_failed
from runtime.server.service import SERVICE, Service
from runtime.state import Phase

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID = web.RequestKey("request_id", str)
BEGAN = web.RequestKey("began", float)
FIRST_TOKEN = web.RequestKey("first_token", float)
ABANDONED = web.RequestKey("abandoned", bool)
_GOOD_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
# Asked every few seconds by machines; neither logged nor counted as work.
_QUIET = frozenset(
    {"/ready", "/live", "/health", "/metrics", "/v2/health/live", "/v2/health/ready", "/stoker/v1/state"}
)
_LEFT = 499  # nginx's status for a client that did not wait
_WORDS = {404: "There is no {path} here. OpenAI's endpoints are under /openai/v1 and /v1.",
          405: "{method} is not allowed on {path}.",
          413: "The body is larger than {limit} bytes."}  # fmt: skip

log = structlog.get_logger()


@web.middleware
async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers every request in one shape and records what became of it."""
    service = request.app[SERVICE]
    given = request.headers.get("x-request-id", "")
    request[REQUEST_ID] = given if _GOOD_ID.fullmatch(given) else uuid.uuid4().hex
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unknown"
    if route in _QUIET:
        return await _answer(request, handler, service)
    began, status = time.monotonic(), _LEFT
    request[BEGAN] = began
    try:
        with service.metrics.in_flight.track_inprogress(), service.in_flight.enter():
            response = await _answer(request, handler, service)
        status = _LEFT if request.get(ABANDONED) else response.status
        return response
    finally:
        _record(service, request, route, status, time.monotonic() - began)


async def _answer(request: web.Request, handler: Handler, service: Service) -> web.StreamResponse:
    try:
        return await handler(request)
    except asyncio.CancelledError:
        cut = service.in_flight.cut_short()
        if cut is None:
            raise
        return problem_response(cut)
    except Exception as error:
        return problem_response(_problem(request, error, service))


def _problem(request: web.Request, error: Exception, service: Service) -> ApiProblem:
    """The problem that an exception in a handler amounts to."""
    match error:
        case ApiProblem():
            return error
        case web.HTTPException():
            return _from_http(request, error, service)
        case EngineRefused():
            return ApiProblem(400, str(error)[:500], code="invalid_value")
        case EngineBusy():
            retry = {"Retry-After": "1"}
            return ApiProblem(429, "The engine's queue is full.", code="overloaded", headers=retry)
        case EngineDead():
            return engine_failed()
        case _:
            log.error("request failed", request_id=request[REQUEST_ID], path=request.path, exc_info=error)
            return ApiProblem(500, "Internal error.", code="internal_error")


def problem_response(problem: ApiProblem) -> web.Response:
    """A problem as an HTTP answer."""
    return web.Response(
        status=problem.status,
        body=encode(problem.document()),
        headers={"Content-Type": "application/json", **problem.headers},
    )


async def stamp(request: web.Request, response: web.StreamResponse) -> None:
    """Before any answer's head is written: echoes the request's id, and while draining asks clients to
    open their next connection elsewhere.
    """
    response.headers["x-request-id"] = request.get(REQUEST_ID, "")
    response.headers["Server"] = "stoker"
    service = request.app[SERVICE]
    if service.state.phase is Phase.DRAINING:
        response.headers["Connection"] = "close"
        response.force_close()


def _from_http(request: web.Request, error: web.HTTPException, service: Service) -> ApiProblem:
    words = _WORDS.get(error.status, error.reason)
    message = words.format(
        path=request.path[:200], method=request.method[:16], limit=service.settings.bounds.max_body_bytes
    )
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return ApiProblem(error.status, message, headers=headers)


def _record(service: Service, request: web.Request, route: str, status: int, seconds: float) -> None:
    metrics = service.metrics
    metrics.requests.labels(route, str(status)).inc()
    metrics.request_seconds.labels(route).observe(seconds)
    if status == _LEFT:
        metrics.disconnects.labels(route).inc()
    first = request.get(FIRST_TOKEN)
    if first is not None:
        metrics.first_token_seconds.observe(first)
    if not service.settings.disable_log_requests:
        log.info(
            "request",
            method=request.method,
            route=route,
            status=status,
            seconds=round(seconds, 4),
            request_id=request[REQUEST_ID],
        )
