"""Traces, as an OpenTelemetry collector gets them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runtime.server import tracing

from .collector import collecting
from .serving import serve
from .tiny import save_tiny_llama

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("backend", ["echo", "huggingface"])
async def test_a_clients_trace_is_continued(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = [] if backend == "echo" else [f"--model_id={save_tiny_llama(tmp_path)}"]
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        async with serve(f"--backend={backend}", *flags) as server:
            headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
            body = {"model": "m", "prompt": "secret prompt", "max_tokens": 3}
            assert (await server.post("/v1/completions", body, headers=headers))[0] == 200
            assert (await server.post("/v1/completions", {}))[0] == 400
            await server.http.get(server.url + "/ready")
            await asyncio.to_thread(server.service.tracing.shut_down)
    found = collector.of(TRACE)
    request, queue, prefill = (found[name] for name in ("/v1/completions", "queue", "prefill"))
    assert request.parent_span_id.hex() == SPAN
    assert queue.parent_span_id == prefill.parent_span_id == request.span_id
    assert request.start_time_unix_nano <= queue.start_time_unix_nano <= queue.end_time_unix_nano
    assert queue.end_time_unix_nano <= prefill.start_time_unix_nano < prefill.end_time_unix_nano
    assert prefill.end_time_unix_nano <= request.end_time_unix_nano
    (other,) = [span for span in collector.spans if span.trace_id.hex() != TRACE]  # probes are none
    assert other.name == "/v1/completions"
    values = {each.key: each.value.string_value or each.value.int_value for each in request.attributes}
    assert values["http.route"] == "/v1/completions"
    assert (values["http.response.status_code"], values["gen_ai.request.model"]) == (200, "m")
    assert (values["gen_ai.usage.input_tokens"], values["gen_ai.usage.output_tokens"]) == (14, 3)
    assert b"secret" not in collector.body


def test_without_an_endpoint_nothing_is_imported() -> None:
    assert type(tracing.from_environment("m", {})).__name__ == "_NoTracing"
    off = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}
    assert type(tracing.from_environment("m", off)).__name__ == "_NoTracing"
