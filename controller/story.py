"""The events that a change of status is worth: what a person reading `kubectl describe` wants to follow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from stoker.kube.conditions import find_condition
from stoker.kube.resource import Object
from stoker.serving.status.cold_start import words
from stoker.serving.status.readiness import STOPPED

_TRIFLES = frozenset({"Scheduling", "Creating"})  # over in a moment, or the scheduler's own event says more


class Note(NamedTuple):
    """One event to record."""

    warning: bool
    reason: str
    action: str
    note: str


def notes(before: Object, after: Object) -> Iterator[Note]:
    """What to tell, by the difference of two statuses alone: after a restart nothing is told twice."""
    yield from _traffic(before, after)
    yield from _cold_start(before, after)
    old, new = _ready(before), _ready(after)
    if new is None or _same(old, new):
        return
    reason, message = str(new["reason"]), str(new["message"])
    if new["status"] == "True":
        yield Note(False, "Ready", "Serve", message)
    elif new["status"] == "False":
        yield Note(reason != STOPPED, reason, "Reconcile", message)
    elif reason not in _TRIFLES:
        yield Note(False, reason, "Load", message)


def _traffic(before: Object, after: Object) -> Iterator[Note]:
    table, was = _table(after), _table(before)
    if table == was or not table:
        return
    parts = ", ".join(f"{entry['percent']}% to {entry['revisionName']}" for entry in table)
    yield Note(False, "TrafficMoved", "Route", f"requests go {parts}")


def _cold_start(before: Object, after: Object) -> Iterator[Note]:
    """Told once for each revision."""
    start = after.get("coldStart")
    if start and start.get("revisionName") != (before.get("coldStart") or {}).get("revisionName"):
        yield Note(False, "ColdStart", "Measure", f"{start['revisionName']}: {words(start)}")


def _table(status: Object) -> list[Any]:
    components: Any = status.get("components") or {}
    return (components.get("predictor") or {}).get("traffic") or []


def _ready(status: Object) -> Object | None:
    return find_condition(status.get("conditions") or [], "Ready")


def _same(old: Object | None, new: Object) -> bool:
    return old is not None and (old["status"], old.get("reason")) == (new["status"], new["reason"])
