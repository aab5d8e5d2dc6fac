"""The controller's metrics, and the only file here that knows prometheus_client.

Of control loop and queue in controller-runtime's names, so that its dashboards work:
controller_runtime_{reconcile_total,reconcile_errors_total,terminal_reconcile_errors_total,
reconcile_panics_total,reconcile_time_seconds,active_workers,max_concurrent_reconciles}{controller} and
workqueue_{depth,adds_total,retries_total,queue_duration_seconds,work_duration_seconds}{name,controller}.

stoker_inferenceservice_ready{namespace,name}                 1 where Ready is True, else 0
stoker_inferenceservice_time_to_ready_seconds                 from creation until Ready for the first time
stoker_controller_spec_problems{reason}                       InferenceServices that cannot be rendered
stoker_controller_state_polls_total{result}                   answered, unreachable, unsupported
stoker_controller_leader                                      1 while this replica leads
"""

from __future__ import annotations

from collections import Counter as Tally
from datetime import datetime
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client import ProcessCollector as Process

from stoker.kube.conditions import find_condition
from stoker.kube.metrics import Outcome
from stoker.kube.resource import Key, Object, key_of

PollResult = Literal["answered", "unreachable", "unsupported"]

_RESULTS = ("success", "requeue_after", "requeue", "error")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_START_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 180, 300, 600, 900, 1800, 3600)
_QUEUE_SECONDS = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)


class Metrics:
    """One process's counts, in a registry of its own. Receives what control loops do (kube.metrics)."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        Process(registry=registry)
        self._problems: dict[Key, str] = {}

        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(name, words, labels, registry=registry)

        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(name, words, labels, registry=registry)

        def histogram(name: str, words: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, words, labels, registry=registry, buckets=buckets)

        loop, queue = "controller_runtime", "workqueue"
        self._total = counter(f"{loop}_reconcile", "Reconciles.", "controller", "result")
        self._errors = counter(f"{loop}_reconcile_errors", "Reconciles that failed.", "controller")
        self._terminal = counter(f"{loop}_terminal_reconcile_errors", "Not retried.", "controller")
        self._panics = counter(f"{loop}_reconcile_panics", "Unexpected exceptions.", "controller")
        self._time = histogram(f"{loop}_reconcile_time_seconds", "Of one reconcile.", _SECONDS, "controller")
        self._active = gauge(f"{loop}_active_workers", "Workers at work.", "controller")
        self._workers = gauge(f"{loop}_max_concurrent_reconciles", "Workers.", "controller")
        self._depth = gauge(f"{queue}_depth", "Keys that wait.", "name", "controller")
        self._adds = counter(f"{queue}_adds", "Keys added.", "name", "controller")
        self._retries = counter(f"{queue}_retries", "Keys added after a failure.", "name", "controller")
        self._waited = histogram(
            f"{queue}_queue_duration_seconds", "Wait of a key.", _QUEUE_SECONDS, "name", "controller"
        )
        self._worked = histogram(
            f"{queue}_work_duration_seconds", "Work on a key.", _QUEUE_SECONDS, "name", "controller"
        )
        self._ready = gauge("stoker_inferenceservice_ready", "1 where Ready is True.", "namespace", "name")
        self._start = histogram(
            "stoker_inferenceservice_time_to_ready_seconds",
            "From creation until first Ready.",
            _START_SECONDS,
        )
        self._broken = gauge("stoker_controller_spec_problems", "Specs that cannot be rendered.", "reason")
        self._polls = counter("stoker_controller_state_polls", "Requests for state documents.", "result")
        self._leader = gauge("stoker_controller_leader", "1 while this replica leads.")

    def exposition(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)

    def judged(self, obj: Object, status: Object, now: float) -> None:
        """An InferenceService has this status; `now`: seconds since the epoch."""
        key = key_of(obj)
        ready = _is_ready(status)
        self._ready.labels(*key).set(ready)
        component = (obj.get("status") or {}).get("components", {}).get("predictor", {})
        if ready and not _is_ready(obj.get("status") or {}) and not component.get("latestRolledoutRevision"):
            created = datetime.fromisoformat(obj["metadata"]["creationTimestamp"]).timestamp()
            self._start.observe(max(0.0, now - created))
        model = status.get("modelStatus", {})
        invalid = model.get("transitionStatus") == "InvalidSpec"
        self._set_problem(key, model.get("lastFailureInfo", {}).get("reason") if invalid else None)

    def forget(self, key: Key) -> None:
        """An InferenceService is gone: so are its series."""
        self._set_problem(key, None)
        if key in self._known():
            self._ready.remove(*key)

    def polled(self, result: PollResult) -> None:
        """One pod was asked for its state document."""
        self._polls.labels(result).inc()

    def leading(self, leads: bool) -> None:
        """Whether this replica leads now."""
        self._leader.set(leads)

    def _known(self) -> set[Key]:
        found = (sample.labels for metric in self._ready.collect() for sample in metric.samples)
        return {Key(labels["namespace"], labels["name"]) for labels in found}

    def _set_problem(self, key: Key, reason: str | None) -> None:
        before = self._problems.pop(key, None)
        if reason is not None:
            self._problems[key] = reason
        if before != reason:
            counts = Tally(self._problems.values())
            for each in {before, reason} - {None}:
                self._broken.labels(each).set(counts[str(each)])

    # kube.metrics.LoopMetrics

    def loop_started(self, controller: str, workers: int) -> None:
        """Every series exists from the start, at zero."""
        self._workers.labels(controller).set(workers)
        for result in _RESULTS:
            self._total.labels(controller, result)
        for metric in (self._errors, self._terminal, self._panics, self._time, self._active):
            metric.labels(controller)
        for named in (self._depth, self._adds, self._retries, self._waited, self._worked):
            named.labels(controller, controller)

    def reconcile_started(self, controller: str) -> None:
        """A worker took a key."""
        self._active.labels(controller).inc()

    def reconcile_ended(self, controller: str, outcome: Outcome, seconds: float) -> None:
        """The worker is done with it."""
        self._active.labels(controller).dec()
        self._time.labels(controller).observe(seconds)
        failed = outcome in {"error", "terminal_error", "panic"}
        self._total.labels(controller, "error" if failed else outcome).inc()
        if failed:
            self._errors.labels(controller).inc()
        if outcome == "terminal_error":
            self._terminal.labels(controller).inc()
        if outcome == "panic":
            self._panics.labels(controller).inc()

    def queue_depth(self, controller: str, depth: int) -> None:
        """So many keys wait."""
        self._depth.labels(controller, controller).set(depth)

    def queue_added(self, controller: str) -> None:
        """A key was added."""
        self._adds.labels(controller, controller).inc()

    def queue_retried(self, controller: str) -> None:
        """A key was added after a failure."""
        self._retries.labels(controller, controller).inc()

    def queue_waited(self, controller: str, seconds: float) -> None:
        """A key left the queue."""
        self._waited.labels(controller, controller).observe(seconds)

    def queue_worked(self, controller: str, seconds: float) -> None:
        """A key's work took so long."""
        self._worked.labels(controller, controller).observe(seconds)


def _is_ready(status: Object) -> bool:
    ready = find_condition(status.get("conditions") or [], "Ready")
    return ready is not None and ready["status"] == "True"
