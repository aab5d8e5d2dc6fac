"""Control loop, queue and lease in the names of controller-runtime and client-go: their dashboards work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stoker.kube.metrics import Outcome
from stoker.kube.workqueue import WorkQueue

_RESULTS = ("success", "requeue_after", "requeue", "error")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_QUEUE_SECONDS = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)


class LoopSeries:
    """Receives what control loops do (`stoker.kube.metrics.LoopMetrics`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(name, words, labels, registry=registry)

        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(name, words, labels, registry=registry)

        def histogram(name: str, words: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, words, labels, registry=registry, buckets=buckets)

        loop, queue, named = "controller_runtime", "workqueue", ("name", "controller")
        self._total = counter(f"{loop}_reconcile", "Reconciles.", "controller", "result")
        self._errors = counter(f"{loop}_reconcile_errors", "Reconciles that failed.", "controller")
        self._terminal = counter(f"{loop}_terminal_reconcile_errors", "Not retried.", "controller")
        self._panics = counter(f"{loop}_reconcile_panics", "Unexpected exceptions.", "controller")
        self._time = histogram(f"{loop}_reconcile_time_seconds", "Of one reconcile.", _SECONDS, "controller")
        self._active = gauge(f"{loop}_active_workers", "Workers at work.", "controller")
        self._workers = gauge(f"{loop}_max_concurrent_reconciles", "Workers.", "controller")
        self._depth = gauge(f"{queue}_depth", "Keys that wait.", *named)
        self._adds = counter(f"{queue}_adds", "Keys added.", *named)
        self._retries = counter(f"{queue}_retries", "Keys added after a failure.", *named)
        self._waited = histogram(f"{queue}_queue_duration_seconds", "Wait of a key.", _QUEUE_SECONDS, *named)
        self._worked = histogram(f"{queue}_work_duration_seconds", "Work on a key.", _QUEUE_SECONDS, *named)
        self._unfinished = gauge(f"{queue}_unfinished_work_seconds", "On all keys in work.", *named)
        self._longest = gauge(f"{queue}_longest_running_processor_seconds", "On the oldest key.", *named)
        self._leads = gauge("leader_election_master_status", "1 while this replica leads.", "name")
        self._at_scrape: list[Callable[[], None]] = []

    def leading(self, lease: str, leads: bool) -> None:
        """Whether this replica holds the lease."""
        self._leads.labels(lease).set(leads)

    def watch_queue(self, controller: str, queue: WorkQueue[Any]) -> None:
        """Shows at each scrape how long the queue's keys have been in work: a stuck worker ends none."""

        def look() -> None:
            self._unfinished.labels(controller, controller).set(queue.unfinished_seconds())
            self._longest.labels(controller, controller).set(queue.longest_running_seconds())

        self._at_scrape.append(look)

    def look(self) -> None:
        """Everything that changes with time alone, as it is now."""
        for look in self._at_scrape:
            look()

    def loop_started(self, controller: str, workers: int) -> None:
        """Every series exists from the start, at zero."""
        self._workers.labels(controller).set(workers)
        for result in _RESULTS:
            self._total.labels(controller, result)
        for metric in (self._errors, self._terminal, self._panics, self._time, self._active):
            metric.labels(controller)
        for counts in (self._depth, self._adds, self._retries, self._waited, self._worked):
            counts.labels(controller, controller)
        for gauge in (self._unfinished, self._longest):
            gauge.labels(controller, controller)

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
