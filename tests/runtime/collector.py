"""A stand-in for an OpenTelemetry collector, for servers in this process and in others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class Collector:
    """`spans`: those that came, in order. `body`: all bytes."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Any] = []
        self.body = b""

    def of(self, trace: str) -> dict[str, Any]:
        """A trace's spans by name."""
        return {span.name: span for span in list(self.spans) if span.trace_id.hex() == trace}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens; skips the test where OpenTelemetry is not installed."""
    messages = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made = messages.ExportTraceServiceRequest.FromString(body)
            collector.body += made.SerializeToString()
            collector.spans += [span for r in made.resource_spans for s in r.scope_spans for span in s.spans]
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
