"""Envoy's resources as plain data, in the JSON form of its v3 API, and the reasons for every setting.

Everything that is not routing is decided here and depends on nothing but the options: a listener or cluster
that changed while it is in use would drain connections, so those two never change while the gateway runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway import answers, request_counts

Dict = dict[str, Any]

TYPE = "type.googleapis.com/"
HTTP_CONNECTION_MANAGER = "envoy.filters.network.http_connection_manager"
CLUSTER = TYPE + "envoy.config.cluster.v3.Cluster"
ENDPOINTS = TYPE + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = TYPE + "envoy.config.listener.v3.Listener"
ROUTES = TYPE + "envoy.config.route.v3.RouteConfiguration"
# The order in which they are sent, so that nothing refers to what Envoy does not have yet.
TYPES = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)

LISTENER_NAME = "ingress"
ROUTES_NAME = "ingress"
DRAINING_HEADER = "x-stoker-draining"

_CONNECT_TIMEOUT = "2s"
# Shorter than the runtime keeps an idle connection (75 s): Envoy, not the pod, must be the one to close it,
# or a request and the pod's close cross on the wire.
_UPSTREAM_IDLE = "30s"
_RETRIES = 3
# An empty list would mean Envoy's default, under which private and loopback addresses are trusted.
_NO_CLIENT = {"address_prefix": "255.255.255.255", "prefix_len": 32}
# Envoy's defaults (1,024 requests, 3 retries) are made for short requests; the runtime bounds its own queue.
_UNBOUNDED = 1_000_000


@dataclass(frozen=True)
class EnvoyResource:
    """One resource: `version` is a hash of `body`, so every replica of the gateway names it alike."""

    name: str
    body: Mapping[str, Any]
    version: str
    vacant: bool = False  # endpoints without one: telling Envoy ends traffic, so routes must leave first


def resource(name: str, body: Dict, *, vacant: bool = False) -> EnvoyResource:
    """The resource with its version."""
    return EnvoyResource(name, body, digest(body), vacant)


def digest(body: Any) -> str:
    """16 hexadecimal digits that stand for the content."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cluster(name: str) -> EnvoyResource:
    """The pods of one revision: `{namespace}/{name}/{revision}`."""
    http = {
        "@type": TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": _UPSTREAM_IDLE},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    least_request = {
        "@type": TYPE + "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
        # Requests last seconds to minutes and pods are few: look at all of them, not at two picked by chance.
        "selection_method": "FULL_SCAN",
    }
    limits = {
        "max_connections": _UNBOUNDED,
        "max_pending_requests": _UNBOUNDED,
        "max_requests": _UNBOUNDED,
        "max_retries": _UNBOUNDED,
    }
    body = {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"service_name": name, "eds_config": source()},
        "connect_timeout": _CONNECT_TIMEOUT,
        "load_balancing_policy": {
            "policies": [{"typed_extension_config": extension("least_request", least_request)}]
        },
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http},
        "circuit_breakers": {"thresholds": [limits]},
        # No timeout ends a silent answer, so only this finds out that the node under it is gone.
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_time": 30, "keepalive_interval": 10, "keepalive_probes": 3}
        },
    }
    return resource(name, body)


def endpoints(name: str, addresses: Iterable[tuple[str, int]]) -> EnvoyResource:
    """Where the pods of a cluster are; without locality or weight."""
    found = [
        {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}}
        for address, port in sorted(set(addresses))
    ]
    body: Dict = {"cluster_name": name, "endpoints": [{"lb_endpoints": found}] if found else []}
    return resource(name, body, vacant=not found)


def route_to(name: str, weights: Mapping[str, int], timeout: int) -> Dict:
    """Everything under one host goes to these clusters; `timeout` in seconds, 0 for none."""
    shares = [{"name": each, "weight": weight} for each, weight in sorted(weights.items())]
    return {
        "name": name,
        "match": {"prefix": "/"},
        "route": {
            "weighted_clusters": {"clusters": shares},
            # The runtime owns deadlines: a model may think for minutes before its first token.
            "timeout": f"{timeout}s",
            "idle_timeout": "0s",
            "retry_policy": _retry_policy(),
        },
    }


def answer_with(name: str, response: Dict) -> Dict:
    """Everything under one host is answered by Envoy itself."""
    route: Dict = {"name": name, "match": {"prefix": "/"}, "direct_response": response}
    headers = [answers.retry_after()] if response["status"] == 503 else []
    if "body" in response:
        headers.append(
            {
                "header": {"key": "content-type", "value": "application/json"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        )
    return route | ({"response_headers_to_add": headers} if headers else {})


def virtual_host(name: str, domains: list[str], route: Dict) -> Dict:
    """One host. Envoy compares domains without regard to case."""
    return {"name": name, "domains": domains, "routes": [route]}


def routes(virtual_hosts: list[Dict]) -> EnvoyResource:
    """The whole table."""
    return resource(
        ROUTES_NAME,
        {"name": ROUTES_NAME, "ignore_port_in_host_matching": True, "virtual_hosts": virtual_hosts},
    )


def listener(port: int, *, access_log: bool, tracing: Dict | None = None) -> EnvoyResource:
    """Where clients connect: HTTP/1.1 and HTTP/2 without TLS on one port."""
    manager = _connection_manager(access_log) | ({"tracing": tracing} if tracing else {})
    chain = {"filters": [extension(HTTP_CONNECTION_MANAGER, manager)]}
    body = {
        "name": LISTENER_NAME,
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},
        "filter_chains": [chain],
    }
    return resource(LISTENER_NAME, body)


def source() -> Dict:
    """Where Envoy gets a resource: the same stream, waited for as long as it takes."""
    return {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


def _connection_manager(access_log: bool) -> Dict:
    router = {
        "@type": TYPE + "envoy.extensions.filters.http.router.v3.Router",
        "suppress_envoy_headers": True,
    }
    return {
        "@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": LISTENER_NAME,
        "codec_type": "AUTO",
        "rds": {"route_config_name": ROUTES_NAME, "config_source": source()},
        "http_filters": [extension("envoy.filters.http.router", router)],
        # Off by decision; `request_timeout` is off by default.
        "stream_idle_timeout": "0s",
        # Against clients that dribble their headers; an idle kept-alive connection is none of them.
        "request_headers_timeout": "30s",
        "common_http_protocol_options": {"idle_timeout": "3600s"},
        "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "unknown"},
        "http2_protocol_options": {"max_concurrent_streams": 1000, "initial_connection_window_size": 1048576},
        "max_request_headers_kb": 64,
        "strip_trailing_host_dot": True,
        # `x-envoy-*` headers can set timeouts and retries: no client counts as internal, so they are dropped.
        "use_remote_address": True,
        "internal_address_config": {"cidr_ranges": [_NO_CLIENT]},
        "server_header_transformation": "APPEND_IF_ABSENT",
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "local_reply_config": answers.local_replies(),
        "access_log": [request_counts.access_logger(), *([_access_log()] if access_log else [])],
    }


def _retry_policy() -> Dict:
    """Another pod, and only where the first one cannot have begun to work on the request."""
    previous_hosts = {"@type": TYPE + "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}
    return {
        "retry_on": "connect-failure,refused-stream,retriable-headers",
        "num_retries": _RETRIES,
        "retriable_headers": [{"name": DRAINING_HEADER, "string_match": {"exact": "1"}}],
        "retry_host_predicate": [extension("envoy.retry_host_predicates.previous_hosts", previous_hosts)],
        "host_selection_retry_max_attempts": 5,
    }


def _access_log() -> Dict:
    # No query and no bodies: prompts and keys stay out of logs.
    fields = {
        "time": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ)%",
        "host": "%REQ(:AUTHORITY)%",
        "protocol": "%PROTOCOL%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "duration_ms": "%DURATION%",
        "first_byte_ms": "%RESPONSE_DURATION%",
        "bytes_received": "%BYTES_RECEIVED%",
        "bytes_sent": "%BYTES_SENT%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "cluster": "%UPSTREAM_CLUSTER_RAW%",
        "pod": "%UPSTREAM_HOST%",
        "request_id": "%REQ(X-REQUEST-ID)%",
    }
    config = {
        "@type": TYPE + "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        "log_format": {"json_format": fields},
    }
    return extension("envoy.access_loggers.stdout", config)


def extension(name: str, config: Dict) -> Dict:
    """A `typed_config` with the name that Envoy knows it by."""
    return {"name": name, "typed_config": config}
