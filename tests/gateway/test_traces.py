"""One trace from a client through the real Envoy and the real runtime, as a collector gets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gateway import traces
from gateway.snapshot import Options
from gateway.traces import Traces
from tests.gateway.bench import LOOPBACK, PATIENCE, benched
from tests.gateway.objects import inference_service, pod
from tests.ports import free_port
from tests.runtime.serving import serve

HOST = "a.default.example.com"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """What an OpenTelemetry collector got: spans with the name of the service that sent them."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        self.url = ""

    async def until(self, *services: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while not set(services) <= {service for service, _ in self.spans}:
                await asyncio.sleep(0.02)

    def of(self, service: str) -> list[Any]:
        return [span for name, span in self.spans if name == service]

    async def take(self, request: web.Request) -> web.Response:
        for each in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            attributes = {a.key: a.value.string_value for a in each.resource.attributes}
            for scope in each.scope_spans:
                self.spans += [(attributes["service.name"], span) for span in scope.spans]
        return web.Response()


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    collector.url = f"http://{LOOPBACK}:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        await runner.cleanup()


@pytest.mark.envoy
async def test_one_trace_from_envoy_to_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        options = Options(listener_port=free_port(), traces=Traces(collector.url))
        async with serve() as runtime, benched(tmp_path, options) as bench:
            port = urlsplit(runtime.url).port or 0
            await bench.show([inference_service("a", {"a-1": 100})], [pod("a", "a-1", LOOPBACK, port)])
            await bench.serving()
            body = {"model": "m", "prompt": "secret prompt", "max_tokens": 3}
            headers = {"Host": HOST, "traceparent": f"00-{TRACE}-{SPAN}-01"}
            async with bench.client.post(bench.url + "/v1/completions", json=body, headers=headers) as reply:
                assert reply.status == 200, await reply.text()
            await asyncio.to_thread(runtime.service.tracing.shut_down)
            await collector.until("stoker-gateway", "stoker-runtime")
    (edge,) = collector.of("stoker-gateway")
    spans = {span.name: span for span in collector.of("stoker-runtime")}
    assert {span.trace_id.hex() for _, span in collector.spans} == {TRACE}
    assert edge.parent_span_id.hex() == SPAN
    served = spans["/v1/completions"]
    assert served.parent_span_id == edge.span_id
    queue, prefill = spans["queue"], spans["prefill"]
    assert queue.parent_span_id == prefill.parent_span_id == served.span_id
    moments = [served.start_time_unix_nano, queue.start_time_unix_nano, queue.end_time_unix_nano]
    moments += [prefill.start_time_unix_nano, prefill.end_time_unix_nano, served.end_time_unix_nano]
    # Each is taken from two clocks, read one after the other.
    assert all(earlier <= later + 5e6 for earlier, later in pairwise(moments)), moments
    assert b"secret" not in b"".join(span.SerializeToString() for _, span in collector.spans)


def test_an_endpoint_that_envoy_would_refuse_is_refused_first() -> None:
    assert traces.endpoint("http://collector.observability:4318/") == "http://collector.observability:4318"
    for wrong in ("collector:4318", "https://collector:4318", "http://c:4318/v1/traces", "http://"):
        with pytest.raises(ValueError, match="is not http://HOST:PORT"):
            traces.endpoint(wrong)
    with pytest.raises(ValueError, match="not within 0 to 100"):
        traces.percent("101")
