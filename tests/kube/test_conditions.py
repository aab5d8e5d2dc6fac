"""Conditions of a status."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stoker.kube.conditions import find_condition, set_condition

changes = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["Ready", "Progressing", "IngressReady"]),
        "status": st.sampled_from(["True", "False", "Unknown"]),
        "reason": st.sampled_from(["One", "Two"]),
        "message": st.sampled_from(["", "words"]),
        "generation": st.integers(1, 3),
    }
)


@given(st.lists(changes, max_size=12))
def test_the_transition_time_moves_only_with_the_status(history: list[dict[str, Any]]) -> None:
    conditions: list[dict[str, Any]] = []
    moved: dict[str, tuple[str, str]] = {}
    for tick, change in enumerate(history):
        now = f"2030-01-01T00:00:{tick:02}Z"
        before = copy.deepcopy(conditions)
        updated = set_condition(conditions, **change, now=now)
        assert conditions == before, "the list given is left alone"
        conditions = updated
        if moved.get(change["type"], ("", ""))[0] != change["status"]:
            moved[change["type"]] = (change["status"], now)
        assert {c["type"]: (c["status"], c["lastTransitionTime"]) for c in conditions} == moved
        found = find_condition(conditions, change["type"])
        assert found is not None
        assert found["observedGeneration"] == change["generation"]
        assert (found["reason"], found["message"]) == (change["reason"], change["message"])
    assert [c["type"] for c in conditions] == list(moved), "their order is the order of their first writing"


def test_saying_the_same_again_changes_nothing() -> None:
    said = {"type": "Ready", "status": "True", "reason": "Up", "message": "", "generation": 2}
    conditions = set_condition([], **said, now="2030-01-01T00:00:00Z")
    assert set_condition(conditions, **said, now="2031-01-01T00:00:00Z") == conditions
