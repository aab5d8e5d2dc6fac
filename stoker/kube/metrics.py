"""What a control loop tells about itself, for a program's metrics file to count.

Names to export are controller-runtime's, so that its dashboards work:

    loop_started      controller_runtime_max_concurrent_reconciles; creates every other series at zero
    reconcile_started controller_runtime_active_workers +1
    reconcile_ended   controller_runtime_active_workers -1
                      controller_runtime_reconcile_time_seconds
                      controller_runtime_reconcile_total{result=success|requeue_after|requeue|error},
                      where terminal_error and panic count as result="error"
                      controller_runtime_reconcile_errors_total           error, terminal_error, panic
                      controller_runtime_terminal_reconcile_errors_total  terminal_error
                      controller_runtime_reconcile_panics_total           panic
    queue_depth       workqueue_depth
    queue_added       workqueue_adds_total
    queue_retried     workqueue_retries_total
    queue_waited      workqueue_queue_duration_seconds
    queue_worked      workqueue_work_duration_seconds

`WorkQueue.unfinished_seconds()` and `longest_running_seconds()` give workqueue_unfinished_work_seconds and
workqueue_longest_running_processor_seconds at scrape time.
"""

from __future__ import annotations

from typing import Literal, Protocol

Outcome = Literal["success", "requeue_after", "requeue", "error", "terminal_error", "panic"]
"""How one reconcile ended. `requeue` is a conflict with another writer: retried, and nobody's fault.
`panic` is an exception that neither the API nor a deadline explains: a bug."""


class LoopMetrics(Protocol):
    """Receives what control loops and their queues do. Calls must be cheap and must not raise."""

    def loop_started(self, controller: str, workers: int) -> None:
        """A loop exists; called once, before its first reconcile."""

    def reconcile_started(self, controller: str) -> None:
        """A worker took a key."""

    def reconcile_ended(self, controller: str, outcome: Outcome, seconds: float) -> None:
        """The worker is done with it; a reconcile cancelled at shutdown counts as `error`."""

    def queue_depth(self, controller: str, depth: int) -> None:
        """So many keys wait for a worker now."""

    def queue_added(self, controller: str) -> None:
        """A key was added that was not waiting already."""

    def queue_retried(self, controller: str) -> None:
        """A key was added after a failure, with back-off."""

    def queue_waited(self, controller: str, seconds: float) -> None:
        """A key left the queue after so long."""

    def queue_worked(self, controller: str, seconds: float) -> None:
        """A key's work took so long."""


class NoMetrics:
    """Counts nothing."""

    def loop_started(self, controller: str, workers: int) -> None:
        """Do nothing."""

    def reconcile_started(self, controller: str) -> None:
        """Do nothing."""

    def reconcile_ended(self, controller: str, outcome: Outcome, seconds: float) -> None:
        """Do nothing."""

    def queue_depth(self, controller: str, depth: int) -> None:
        """Do nothing."""

    def queue_added(self, controller: str) -> None:
        """Do nothing."""

    def queue_retried(self, controller: str) -> None:
        """Do nothing."""

    def queue_waited(self, controller: str, seconds: float) -> None:
        """Do nothing."""

    def queue_worked(self, controller: str, seconds: float) -> None:
        """Do nothing."""
