"""Shares of traffic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stoker.serving.rollouts.traffic import Weights, shares, table


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 1000), min_size=1))
def test_shares_are_whole_and_fair(counts: dict[str, int]) -> None:
    given_ = shares(counts)
    total = sum(counts.values())
    assert sum(given_.values()) == 100
    assert all(abs(given_[name] - 100 * count / total) < 1 for name, count in counts.items())


def test_three_revisions_in_one_table() -> None:
    made = table(Weights({"r1": 2, "r2": 1, "r3": 1}, target="r3", old="r1"), [])
    assert made == [
        {"revisionName": "r3", "latestRevision": True, "percent": 25},
        {"revisionName": "r1", "percent": 50, "tag": "prev"},
        {"revisionName": "r2", "percent": 25},
    ]


def test_without_a_ready_pod_the_table_stays_as_it_was() -> None:
    before = [{"revisionName": "r1", "latestRevision": True, "percent": 100}]
    assert table(Weights({"r1": 0, "r2": 0}, target="r2", old="r1"), before) == before
    assert table(Weights({}, target="r1"), []) == []
