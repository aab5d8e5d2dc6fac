"""What Envoy counts for each InferenceService: every answer that a client got, whoever gave it.

Envoy's cluster statistics miss the answers that it gives itself, above all 503 while no pod is ready: an
InferenceService that is down would look as if nobody asked for it. Its access logger `stats` sees every
request at its end and counts `envoy_stoker_requests{inferenceservice,status,flags}`:

    inferenceservice   `NAMESPACE/NAME`, the route's name; `unknown-host` for a host that nobody has
    status             of the answer; 0 where the client left before there was one
    flags              Envoy's response flags, `-` for none: `UPE` a pod broke off, `DC` the client left

None of them holds a client's text.
"""

from __future__ import annotations

from typing import Any

NAME = "envoy.access_loggers.stats"
_TAGS = {"inferenceservice": "%ROUTE_NAME%", "status": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%"}


def access_logger() -> dict[str, Any]:
    """The logger's `typed_config` with its name."""
    tags = [{"name": name, "value_format": value} for name, value in _TAGS.items()]
    config = {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config",
        # Deprecated for `stats_scope` as of Envoy 1.40, which the published protos do not have yet.
        "stat_prefix": "stoker",
        "counters": [{"stat": {"name": "requests", "tags": tags}, "value_fixed": 1}],
    }
    return {"name": NAME, "typed_config": config}
