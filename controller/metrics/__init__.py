"""The controller's metrics, in the only folder here that knows prometheus_client. All: docs/metrics.md."""

from __future__ import annotations

from typing import Literal

from prometheus_client import Counter, Histogram, generate_latest

from controller.metrics.loop import LoopSeries
from controller.metrics.services import ServiceSeries
from stoker.kube.exposition import program_registry
from stoker.kube.loop_lag import BUCKETS

PollResult = Literal["answered", "unreachable", "unsupported"]


class Metrics:
    """One process's counts, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = program_registry()
        self.loop = LoopSeries(registry)
        self.services = ServiceSeries(registry)
        self.loop_lag = Histogram(
            "stoker_event_loop_lag_seconds",
            "By how much a short sleep of the event loop ended late.",
            registry=registry,
            buckets=BUCKETS,
        )
        self._polls = Counter(
            "stoker_controller_state_polls", "Requests for state documents.", ["result"], registry=registry
        )

    def exposition(self) -> bytes:
        """In Prometheus' text format."""
        self.loop.look()
        return generate_latest(self._registry)

    def polled(self, result: PollResult) -> None:
        """One pod was asked for its state document."""
        self._polls.labels(result).inc()
