"""Traces, as an OpenTelemetry collector gets them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from runtime.server import tracing

from .serving import serve

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


async def test_a_clients_trace_is_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    got: list[Any] = []

    async def collect(request: web.Request) -> web.Response:
        body = await request.read()
        got.append(messages.ExportTraceServiceRequest.FromString(body))
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", collect)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        async with serve() as server:
            headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
            body = {"model": "m", "prompt": "secret prompt", "max_tokens": 3}
            assert (await server.post("/v1/completions", body, headers=headers))[0] == 200
            assert (await server.post("/v1/completions", {}))[0] == 400
            await server.http.get(server.url + "/ready")
            await asyncio.to_thread(server.service.tracing.shut_down)
    finally:
        await runner.cleanup()
    spans = [span for each in got for r in each.resource_spans for s in r.scope_spans for span in s.spans]
    stages = [span for span in spans if span.name in ("queue", "prefill")]
    first, second = [span for span in spans if span not in stages]  # probes are none
    assert [span.name for span in stages] == ["queue", "prefill"]
    assert {span.parent_span_id for span in stages} == {first.span_id}
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE, SPAN)
    assert second.trace_id.hex() != TRACE
    values = {each.key: each.value.string_value or each.value.int_value for each in first.attributes}
    assert values["http.route"] == "/v1/completions"
    assert (values["http.response.status_code"], values["gen_ai.request.model"]) == (200, "m")
    assert (values["gen_ai.usage.input_tokens"], values["gen_ai.usage.output_tokens"]) == (14, 3)
    assert b"secret" not in b"".join(each.SerializeToString() for each in got)


def test_without_an_endpoint_nothing_is_imported() -> None:
    assert type(tracing.from_environment("m", {})).__name__ == "_NoTracing"
    off = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}
    assert type(tracing.from_environment("m", off)).__name__ == "_NoTracing"
