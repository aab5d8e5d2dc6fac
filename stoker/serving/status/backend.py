"""Which engine a revision's pods answer with, and why it was chosen, as their state documents say."""

from __future__ import annotations

from collections.abc import Iterable

from stoker.serving.api.reading import Object

_LONGEST = 64
_USUAL = frozenset({"Requested", "Default"})


def backend(states: Iterable[Object]) -> Object | None:
    """`name` and `reason` from the documents of ready pods, None where none tells. Of pods that differ,
    one that fell back to another backend is shown: that is what somebody may want to mend.
    """
    found = [told for state in states if (told := _told(state)) is not None]
    return min(found, key=lambda each: each["reason"] in _USUAL, default=None)


def _told(state: Object) -> Object | None:
    chosen = state.get("backend")
    if not isinstance(chosen, dict):
        return None
    name, reason = chosen.get("name"), chosen.get("reason")
    if not isinstance(name, str) or not isinstance(reason, str) or max(len(name), len(reason)) > _LONGEST:
        return None
    return {"name": name, "reason": reason}
