"""docs/metrics.md as data, and the metrics that the programs really have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from controller.metrics import Metrics as ControllerMetrics
from gateway.metrics import GatewayMetrics
from runtime.engines.base import Load
from runtime.metrics import Metrics as RuntimeMetrics
from webhook.metrics import Metrics as WebhookMetrics

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"
TARGET_LABELS = frozenset({"job", "instance", "namespace", "pod", "name", "revision"})
"""What the scrape adds; `name` and `revision` only to the runtime's series."""
_ROW = re.compile(r"^\| `([^`]+)` \| (\w+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Metric:
    name: str  # as it is exposed: counters end in _total
    kind: str
    labels: frozenset[str]

    @property
    def series(self) -> dict[str, frozenset[str]]:
        """Its time series' names with their labels."""
        if self.kind != "histogram":
            return {self.name: self.labels}
        more = {f"{self.name}_sum": self.labels, f"{self.name}_count": self.labels}
        return {f"{self.name}_bucket": self.labels | {"le"}, **more}


def documented(text: str | None = None) -> dict[str, list[Metric]]:
    """Section of the page -> its metrics."""
    parts = re.split(r"^## (.+)$", PAGE.read_text() if text is None else text, flags=re.MULTILINE)
    found = {}
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        found[title] = [
            Metric(name, kind, frozenset(re.findall(r"`([^`]+)`", labels)))
            for name, kind, labels, _, _ in _ROW.findall(body)
        ]
    return found


def known_series() -> dict[str, frozenset[str]]:
    """Every time series on the page with its labels."""
    return {
        name: labels
        for metrics in documented().values()
        for metric in metrics
        for name, labels in metric.series.items()
    }


def registries() -> dict[str, CollectorRegistry]:
    """Section of the page -> what that program registers."""
    runtime = RuntimeMetrics()
    runtime.measure_engine("m", lambda: Load(running=0, waiting=0, cache=0.0, preempted=0))
    gateway = GatewayMetrics()
    gateway.watch_age(lambda: 0.0)
    return {
        "Runtime": runtime._registry,
        "Controller": ControllerMetrics()._registry,
        "Webhook": WebhookMetrics()._registry,
        "Gateway": gateway.registry,
    }


def exported() -> dict[str, set[Metric]]:
    """Section of the page -> the metrics of that program."""
    return {section: _registered(registry) for section, registry in registries().items()}


def _registered(registry: CollectorRegistry) -> set[Metric]:
    found = set()
    for collector in registry._collector_to_names:
        if not isinstance(collector, MetricWrapperBase):
            continue  # the process' own: prometheus_client's, named once for all
        name, kind = collector._name, collector._type
        found.add(Metric(name + "_total" * (kind == "counter"), kind, frozenset(collector._labelnames)))
    return found
