"""Reconciling and Stalled, the two conditions by which generic tools read any object (kstatus).

Both are there only while they are True. kstatus takes an object without them for done, whatever Ready says:
so there is exactly one of them as long as Ready is not True.
"""

from __future__ import annotations

from typing import Literal

# Ready is False, and yet something may end it by itself: a node that is added, a gateway that comes back,
# a pod that takes another's place.
_PASSING = frozenset({"Unschedulable", "GatewayNotReady", "PodsNotReady", "Evicted"})


def progress_condition(
    ready: Literal["True", "False", "Unknown"], reason: str, *, deadline_passed: bool
) -> Literal["Reconciling", "Stalled"] | None:
    """The condition that is to be True beside a Ready of this status and reason; None where it is True."""
    if ready == "True":
        return None
    if deadline_passed:
        return "Stalled"
    return "Reconciling" if ready == "Unknown" or reason in _PASSING else "Stalled"
