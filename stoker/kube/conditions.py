"""Conditions of a status, kept as the API conventions ask."""

from __future__ import annotations

from stoker.kube.resource import Object

_LONGEST_MESSAGE = 32768  # metav1.Condition


def set_condition(
    conditions: list[Object],
    *,
    type: str,  # noqa: A002 (the field's name in the API)
    status: str,
    reason: str,
    message: str,
    generation: int,
    now: str,
) -> list[Object]:
    """A new list in which the condition says this; order and other conditions stay.

    `status` is "True", "False" or "Unknown"; `now` an RFC 3339 time. lastTransitionTime moves only when
    `status` changes, so that setting what is so already changes nothing and need not be written.
    """
    condition: Object = {
        "type": type,
        "status": status,
        "reason": reason,
        "message": message[:_LONGEST_MESSAGE],
        "observedGeneration": generation,
        "lastTransitionTime": now,
    }
    before = find_condition(conditions, type)
    if before is None:
        return [*conditions, condition]
    if before.get("status") == status and before.get("lastTransitionTime"):
        condition["lastTransitionTime"] = before["lastTransitionTime"]
    return [condition if old is before else old for old in conditions]


def find_condition(conditions: list[Object], type: str) -> Object | None:  # noqa: A002
    """The condition of that type."""
    return next((condition for condition in conditions if condition.get("type") == type), None)
