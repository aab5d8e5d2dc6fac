"""Spans from Envoy to an OpenTelemetry collector, and `traceparent` to the pods; off unless it is asked for.

The span of a request holds method, path, host and status, and never a body.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Dict = dict[str, Any]

CLUSTER_NAME = "opentelemetry-collector"
_CONNECT_TIMEOUT = "2s"
_EXPORT_TIMEOUT = "5s"


@dataclass(frozen=True)
class Traces:
    """Spans go to `endpoint` (http://HOST:PORT, OTLP over HTTP), of so many percent of the requests.

    A request with a `traceparent` of its own is as its client decided.
    """

    endpoint: str
    percent: float = 100.0


def endpoint(text: str) -> str:
    """http://HOST:PORT as a flag gives it. Raises ValueError: Envoy would refuse its listener for it."""
    parts = urlsplit(text)
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f"{text} is not http://HOST:PORT")
    return text.rstrip("/")


def percent(text: str) -> float:
    """0 to 100. Raises ValueError."""
    value = float(text)
    if not 0 <= value <= 100:
        raise ValueError(f"{text} is not within 0 to 100")
    return value


def cluster(traces: Traces) -> Dict:
    """The collector, by name or address."""
    parts = urlsplit(traces.endpoint)
    address = {"socket_address": {"address": parts.hostname, "port_value": parts.port or 80}}
    return {
        "name": CLUSTER_NAME,
        "type": "STRICT_DNS",
        "connect_timeout": _CONNECT_TIMEOUT,
        "load_assignment": {
            "cluster_name": CLUSTER_NAME,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def tracing(traces: Traces) -> Dict:
    """`tracing` of the connection manager."""
    uri = {"uri": f"{traces.endpoint}/v1/traces", "cluster": CLUSTER_NAME, "timeout": _EXPORT_TIMEOUT}
    provider = {
        "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
        "http_service": {"http_uri": uri},
        "service_name": "stoker-gateway",
    }
    return {
        "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": provider},
        "random_sampling": {"value": traces.percent},
    }
