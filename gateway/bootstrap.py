"""What Envoy is started with: where its control plane, its administration and its probes are.

    python -m gateway.bootstrap > manifests/gateway/envoy.yaml

Everything else comes over the one stream. Envoy waits for it as long as it takes, and starts its workers (so
answers on the readiness listener) only when it has listeners, routes, clusters and endpoints.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import yaml

from gateway.resources import HTTP_CONNECTION_MANAGER, TYPE, Dict, extension, source

LOOPBACK = "127.0.0.1"
XDS_PORT = 18000
ADMIN_PORT = 9901
STATS_PORT = 9902

# LLM streams are long and many; past this, new connections are refused instead of memory running out.
_MOST_CONNECTIONS = 50_000


@dataclass(frozen=True)
class Ports:
    """TCP ports of one Envoy and of the control plane beside it."""

    xds: int = XDS_PORT
    admin: int = ADMIN_PORT
    stats: int = STATS_PORT


def bootstrap(ports: Ports) -> Dict:
    """The bootstrap; the node's id is set by Envoy's `--service-node` where there are several."""
    stream = {
        "envoy_grpc": {
            "cluster_name": "xds",
            # After a restart of the control plane (base 0.5 s, at most 30 s by default).
            "retry_policy": {"retry_back_off": {"base_interval": "0.25s", "max_interval": "2s"}},
        }
    }
    http2 = {
        "@type": TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {
            "http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "10s"}}
        },
    }
    xds = _cluster("xds", ports.xds) | {
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2}
    }
    connections = {
        "@type": TYPE
        + "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": _MOST_CONNECTIONS,
    }
    return {
        "node": {"id": "stoker-gateway", "cluster": "stoker-gateway"},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [stream],
            },
            "cds_config": source(),
            "lds_config": source(),
        },
        "static_resources": {
            "clusters": [xds, _cluster("admin", ports.admin)],
            "listeners": [_stats_listener(ports.stats)],
        },
        "admin": {"address": _address(LOOPBACK, ports.admin)},
        "overload_manager": {
            "resource_monitors": [
                extension("envoy.resource_monitors.global_downstream_max_connections", connections)
            ]
        },
    }


def text(ports: Ports) -> str:
    """The bootstrap as YAML."""
    return yaml.safe_dump(bootstrap(ports), sort_keys=False, width=110)


def _stats_listener(port: int) -> Dict:
    """/ready and /stats/prometheus for everybody, and nothing else of the administration."""
    paths = ("/ready", "/stats/prometheus")
    manager = {
        "@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "stats",
        "http_filters": [
            extension(
                "envoy.filters.http.router",
                {"@type": TYPE + "envoy.extensions.filters.http.router.v3.Router"},
            )
        ],
        "route_config": {
            "name": "stats",
            "virtual_hosts": [
                {
                    "name": "stats",
                    "domains": ["*"],
                    "routes": [{"match": {"path": path}, "route": {"cluster": "admin"}} for path in paths],
                }
            ],
        },
    }
    return {
        "name": "stats",
        "address": _address("0.0.0.0", port),
        "ignore_global_conn_limit": True,  # a probe must not fail because clients are many
        "filter_chains": [{"filters": [extension(HTTP_CONNECTION_MANAGER, manager)]}],
    }


def _cluster(name: str, port: int) -> Dict:
    endpoint = {"endpoint": {"address": _address(LOOPBACK, port)}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(host: str, port: int) -> Dict:
    return {"socket_address": {"address": host, "port_value": port}}


if __name__ == "__main__":
    sys.stdout.write(text(Ports()))
