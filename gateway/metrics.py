"""The gateway's own metrics. Envoy's are on its port 9902."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram, generate_latest

from gateway.resources import TYPES
from gateway.snapshot import Snapshot
from stoker.kube.exposition import program_registry
from stoker.kube.loop_lag import BUCKETS


class GatewayMetrics:
    """One registry per program, so that tests can have many. Labels hold resource types only."""

    def __init__(self) -> None:
        self.registry = program_registry()
        self.connected = Gauge(
            "stoker_gateway_connected_envoys", "Envoys with an open stream.", registry=self.registry
        )
        self._pushes = Counter(
            "stoker_gateway_pushes", "Responses sent to Envoys.", ["type"], registry=self.registry
        )
        self._refusals = Counter(
            "stoker_gateway_refused_pushes",
            "Responses that an Envoy refused (NACK).",
            ["type"],
            registry=self.registry,
        )
        self.settled = Histogram(
            "stoker_gateway_push_seconds",
            "From a new snapshot until an Envoy had accepted all of it.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self.registry,
        )
        self.build_seconds = Histogram(
            "stoker_gateway_snapshot_build_seconds",
            "Time to compute and encode a snapshot.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
            registry=self.registry,
        )
        self.loop_lag = Histogram(
            "stoker_event_loop_lag_seconds",
            "By how much a short sleep of the event loop ended late.",
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.snapshot_errors = Counter(
            "stoker_gateway_snapshot_errors",
            "Snapshots that could not be made; the last good one stays in use.",
            registry=self.registry,
        )
        self._snapshot_time = Gauge(
            "stoker_gateway_snapshot_timestamp_seconds",
            "Unix time at which the latest snapshot was published.",
            registry=self.registry,
        )
        self._resources = Gauge(
            "stoker_gateway_resources", "Resources in the latest snapshot.", ["type"], registry=self.registry
        )
        self._unserved = Gauge(
            "stoker_gateway_inferenceservices_without_host",
            "InferenceServices whose host is taken by an older one or is no host name.",
            registry=self.registry,
        )
        for type_url in TYPES:
            self._pushes.labels(_short(type_url))
            self._refusals.labels(_short(type_url))

    def watch_age(self, seconds_behind: Callable[[], float]) -> None:
        """Read `stoker_gateway_snapshot_age_seconds` from here."""
        Gauge(
            "stoker_gateway_snapshot_age_seconds",
            "How long the slowest Envoy has lacked the latest snapshot; 0 where all have it.",
            registry=self.registry,
        ).set_function(seconds_behind)

    def pushed(self, type_url: str) -> None:
        """A response was sent."""
        self._pushes.labels(_short(type_url)).inc()

    def refused(self, type_url: str) -> None:
        """An Envoy answered NACK."""
        self._refusals.labels(_short(type_url)).inc()

    def published(self, snapshot: Snapshot) -> None:
        """A snapshot is in use."""
        self._snapshot_time.set_to_current_time()
        self._unserved.set(len(snapshot.problems))
        for type_url, named in snapshot.by_type.items():
            self._resources.labels(_short(type_url)).set(len(named))

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)


def _short(type_url: str) -> str:
    return type_url.rpartition(".")[2]
