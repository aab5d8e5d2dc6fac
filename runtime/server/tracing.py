"""Traces: a client's W3C traceparent is continued, where an OpenTelemetry endpoint is configured.

Configured by OpenTelemetry's own environment variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER and
others); without an endpoint nothing of OpenTelemetry is imported. Spans hold no prompts and no answers.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import structlog
from aiohttp import web

from runtime import __version__
from runtime.openai.envelope import Usage

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
_FLUSH_MILLISECONDS = 2000

log = structlog.get_logger()


class Trace:
    """One request's part of a trace; this one is of none."""

    id: str | None = None

    def stage(self, name: str, began: float, ended: float) -> None:
        """A part of the request's work; times are time.monotonic()'s."""

    def ended(self, status: int, usage: Usage | None) -> None:
        """The request was answered with this status."""


class Tracing(Protocol):
    """Makes traces."""

    def span(self, request: web.Request, route: str) -> contextlib.AbstractContextManager[Trace]:
        """A context around one request's answer."""

    def shut_down(self) -> None:
        """Sends what is left, for at most some seconds. Blocks."""


class _NoTracing:
    def __init__(self) -> None:
        self._none = contextlib.nullcontext(Trace())

    def span(self, request: web.Request, route: str) -> contextlib.AbstractContextManager[Trace]:
        return self._none

    def shut_down(self) -> None:
        pass


def from_environment(model_name: str, environ: Mapping[str, str] = os.environ) -> Tracing:
    """Tracing as the environment asks for it."""
    if not any(environ.get(name) for name in _ENDPOINTS) or environ.get("OTEL_SDK_DISABLED") == "true":
        return _NoTracing()
    try:
        missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    except ModuleNotFoundError as error:
        missing = [str(error.name)]
    if missing:
        log.warning("no traces: OpenTelemetry is configured and not installed", missing=missing)
        return _NoTracing()
    return _OpenTelemetry(model_name)


class _OpenTelemetry:
    def __init__(self, model_name: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.trace import SpanKind  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over these.
        resource = Resource.create({"service.name": "stoker-runtime", "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("stoker.runtime", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._kind = SpanKind.SERVER
        self._model_name = model_name

    @contextlib.contextmanager
    def span(self, request: web.Request, route: str) -> Iterator[Trace]:
        parent = self._propagator.extract({name.lower(): value for name, value in request.headers.items()})
        attributes = {
            "http.request.method": request.method if request.method in ("GET", "POST") else "_OTHER",
            "http.route": route,
            "gen_ai.request.model": self._model_name,
        }
        span = self._tracer.start_span(route, parent, kind=self._kind, attributes=attributes)
        try:
            yield _Span(span, self._tracer)
        finally:
            span.end()

    def shut_down(self) -> None:
        self._provider.force_flush(_FLUSH_MILLISECONDS)
        self._provider.shutdown()


class _Span(Trace):
    def __init__(self, span: Any, tracer: Any) -> None:
        self._span = span
        self._tracer = tracer
        self.id = f"{span.get_span_context().trace_id:032x}"

    def stage(self, name: str, began: float, ended: float) -> None:
        from opentelemetry.trace import set_span_in_context  # noqa: PLC0415

        # Spans carry wall-clock nanoseconds.
        past = time.time_ns() - time.monotonic_ns()
        context = set_span_in_context(self._span)
        span = self._tracer.start_span(name, context, start_time=past + int(began * 1e9))
        span.end(past + int(ended * 1e9))

    def ended(self, status: int, usage: Usage | None) -> None:
        from opentelemetry.trace import StatusCode  # noqa: PLC0415

        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)
        if usage is not None:
            self._span.set_attribute("gen_ai.usage.input_tokens", usage.prompt_tokens)
            self._span.set_attribute("gen_ai.usage.output_tokens", usage.completion_tokens)
