"""Around every request: its id, its key, the error shape, the trace, the access log, the counts."""

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
from runtime.openai.envelope import Usage
from runtime.openai.problem import ApiProblem, engine_failed
from runtime.server import expecting, tracing
from runtime.server.service import SERVICE, Service
from runtime.state import Phase

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID = web.RequestKey("request_id", str)
BEGAN = web.RequestKey("began", float)
FIRST_TOKEN = web.RequestKey("first_token", float)
ABANDONED = web.RequestKey("abandoned", bool)
TRACE = web.RequestKey("trace", tracing.Trace)
USAGE = web.RequestKey("usage", Usage)
KEY = web.RequestKey("key", str)
_GOOD_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
# Asked every few seconds by machines; neither logged nor counted as work, and they have no API key.
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
    route = route_of(request)
    if route in _QUIET:
        return await _answer(request, handler, service)
    began, status = time.monotonic(), _LEFT
    request[BEGAN] = began
    with service.tracing.span(request, route) as trace:
        request[TRACE] = trace
        try:
            with service.metrics.in_flight.track_inprogress(), service.in_flight.enter():
                response = await _answer(request, _checked(handler, service), service)
            status = _LEFT if request.get(ABANDONED) else response.status
            return response
        finally:
            trace.ended(status, request.get(USAGE))
            seconds = time.monotonic() - began
            _record(service, request, route=route, status=status, seconds=seconds, trace=trace.id)


def route_of(request: web.Request) -> str:
    """The pattern of the request's route, for labels and logs: paths are the client's text."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


def _checked(handler: Handler, service: Service) -> Handler:
    """The handler behind what can be refused by a request's head alone."""

    async def checked(request: web.Request) -> web.StreamResponse:
        bounds = service.settings.bounds
        if getattr(request.protocol, "crowded", False):
            service.metrics.refused.labels("connections").inc()
            headers = {"Connection": "close", "Retry-After": "1"}
            raise ApiProblem(503, "Too many connections are open.", code="overloaded", headers=headers)
        if sum(len(name) + len(value) for name, value in request.raw_headers) > bounds.max_header_bytes:
            raise ApiProblem(431, f"The request's head is larger than {bounds.max_header_bytes} bytes.")
        if service.keys is None:
            return await handler(request)
        try:
            name = service.keys.name_of(request.headers.get("Authorization"))
            request[KEY] = name
            service.keys.require_tokens(name)
        except ApiProblem as problem:
            service.metrics.refused.labels("unauthorised" if problem.status == 401 else "quota").inc()
            raise
        try:
            return await handler(request)
        finally:
            if (usage := request.get(USAGE)) is not None:
                service.keys.used(name, usage.prompt_tokens + usage.completion_tokens)

    return checked


async def _answer(request: web.Request, handler: Handler, service: Service) -> web.StreamResponse:
    try:
        expecting.require_understood(request)
        return await handler(request)
    except asyncio.CancelledError:
        cut = service.in_flight.cut_short()
        if cut is None:
            raise
        return problem_response(cut)
    except ConnectionError:  # the client left while its body was read
        raise
    except Exception as error:
        return problem_response(problem_of(request, error, service))


def problem_of(request: web.Request, error: Exception, service: Service) -> ApiProblem:
    """The problem that an exception in a handler amounts to."""
    match error:
        case ApiProblem():
            return error
        case web.HTTPException():
            return _from_http(request, error, service)
        case EngineRefused():
            return ApiProblem(400, str(error)[:500], param=error.param, code="invalid_value")
        case EngineBusy():
            service.metrics.refused.labels("overloaded").inc()
            retry = {"Retry-After": str(service.admission.retry_after())}
            return ApiProblem(429, "The engine's queue is full.", code="overloaded", headers=retry)
        case EngineDead():
            return engine_failed()
        case _:
            log.error("request failed", request_id=request[REQUEST_ID], path=request.path, exc_info=error)
            return ApiProblem(500, "Internal error.", code="internal_error")


def problem_response(problem: ApiProblem) -> web.Response:
    """A problem as an HTTP answer."""
    response = web.Response(
        status=problem.status,
        body=encode(problem.document()),
        headers={"Content-Type": "application/json", **problem.headers},
    )
    if problem.headers.get("Connection") == "close":
        response.force_close()
    return response


async def stamp(request: web.Request, response: web.StreamResponse) -> None:
    """Before any answer's head is written: echoes the request's id, and while draining asks clients to
    open their next connection elsewhere. A connection with a body that nobody asked for ends, as that body
    may come or not.
    """
    response.headers["x-request-id"] = request.get(REQUEST_ID, "")
    response.headers["Server"] = "stoker"
    service = request.app[SERVICE]
    if service.state.phase is Phase.DRAINING or expecting.waits(request):
        response.headers["Connection"] = "close"
        response.force_close()


def _from_http(request: web.Request, error: web.HTTPException, service: Service) -> ApiProblem:
    words = _WORDS.get(error.status, error.reason)
    message = words.format(
        path=request.path[:200], method=request.method[:16], limit=service.settings.bounds.max_body_bytes
    )
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return ApiProblem(error.status, message, headers=headers)


def _record(
    service: Service, request: web.Request, *, route: str, status: int, seconds: float, trace: str | None
) -> None:
    metrics = service.metrics
    metrics.requests.labels(route, str(status)).inc()
    metrics.request_seconds.labels(route).observe(seconds)
    if status == _LEFT:
        metrics.disconnects.labels(route).inc()
    first = request.get(FIRST_TOKEN)
    if first is not None:
        metrics.first_token_seconds.observe(first)
    if not service.settings.disable_log_requests:
        more = {"key": request.get(KEY), "trace_id": trace}
        log.info(
            "request",
            method=request.method,
            route=route,
            status=status,
            seconds=round(seconds, 4),
            request_id=request[REQUEST_ID],
            **{name: value for name, value in more.items() if value is not None},
        )
