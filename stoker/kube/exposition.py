"""What the metrics of all programs of the control plane have in common."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each of ours that nothing reads


def program_registry() -> CollectorRegistry:
    """A registry of one program's own, with `process_*` and `python_gc_*`; no `_created` series in it."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
