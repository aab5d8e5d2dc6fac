"""The rollout's steps: a table of situations, each with the numbers that must come out."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from stoker.serving.rollouts.rollout import (
    HandOver,
    Observed,
    Plan,
    Request,
    Strategy,
    Unschedulable,
    parse_strategy,
    plan,
)

OLD, NEW, NEWER = "llm-predictor-00001", "llm-predictor-00002", "llm-predictor-00003"
GPU = {"nvidia.com/gpu": Decimal(1), "cpu": Decimal(2)}
NO_GPU = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available."
ALL_OLD = [{"revisionName": OLD, "latestRevision": True, "percent": 100}]
ALL_NEW = [{"revisionName": NEW, "latestRevision": True, "percent": 100}]


def step(request: Request, *observed: Observed, now: float = 0.0) -> Plan:
    return plan(request, observed, now)


def pods(name: str, wanted: int, ready: int | None = None, **more: Any) -> Observed:
    """A revision with all the pods that it asks for, all ready unless said otherwise."""
    return Observed(name, wanted, wanted, wanted if ready is None else ready, **more)


CASES: dict[str, tuple[Request, list[Observed], dict[str, int], list[dict[str, Any]], str]] = {
    "the first revision starts with all its pods and no traffic": (
        Request(NEW, 3), [], {NEW: 3}, [], "Progressing"),
    "the first revision serves": (
        Request(NEW, 3), [pods(NEW, 3)], {NEW: 3}, ALL_NEW, "Complete"),
    "the first revision takes traffic with its first ready pod": (
        Request(NEW, 3), [pods(NEW, 3, 1)], {NEW: 3}, ALL_NEW, "Progressing"),
    "more replicas without an update": (
        Request(NEW, 5), [pods(NEW, 2)], {NEW: 5}, ALL_NEW, "Progressing"),
    "fewer replicas without an update": (
        Request(NEW, 1), [pods(NEW, 4)], {NEW: 1}, ALL_NEW, "Complete"),
    "stopped": (
        Request(NEW, 0, traffic=ALL_NEW), [pods(NEW, 2)], {NEW: 0}, ALL_NEW, "Complete"),
    "an update of one replica brings one pod beside the old one, which keeps its traffic": (
        Request(NEW, 1, traffic=ALL_OLD), [pods(OLD, 1)], {OLD: 1, NEW: 1}, ALL_OLD, "Progressing"),
    "the new pod does not serve yet": (
        Request(NEW, 1, traffic=ALL_OLD), [pods(OLD, 1), pods(NEW, 1, 0)],
        {OLD: 1, NEW: 1}, ALL_OLD, "Progressing"),
    "the new pod serves: traffic moves, the old pod may go": (
        Request(NEW, 1, traffic=ALL_OLD), [pods(OLD, 1), pods(NEW, 1)],
        {OLD: 0, NEW: 1}, ALL_NEW, "Progressing"),
    "only the old pod's end is awaited": (
        Request(NEW, 1, traffic=ALL_NEW), [Observed(OLD, 0, 0, 0, terminating=1), pods(NEW, 1)],
        {OLD: 0, NEW: 1}, ALL_NEW, "Complete"),
    "of three, one goes for one that came, and traffic follows the pods": (
        Request(NEW, 3, traffic=ALL_OLD), [pods(OLD, 3), pods(NEW, 1)], {OLD: 2, NEW: 1},
        [{"revisionName": NEW, "latestRevision": True, "percent": 33},
         {"revisionName": OLD, "percent": 67, "tag": "prev"}], "Progressing"),
    "the surge is what the old pods leave": (
        Request(NEW, 3, traffic=ALL_OLD), [pods(OLD, 2), pods(NEW, 1)], {OLD: 2, NEW: 2},
        [{"revisionName": NEW, "latestRevision": True, "percent": 33},
         {"revisionName": OLD, "percent": 67, "tag": "prev"}], "Progressing"),
    "without surge an old pod goes first": (
        Request(NEW, 3, Strategy(0, 1), traffic=ALL_OLD), [pods(OLD, 3)], {OLD: 2, NEW: 0}, ALL_OLD,
        "Progressing"),
    "a failing revision is not multiplied, the old one keeps all its pods": (
        Request(NEW, 3, Strategy(2, 0), traffic=ALL_OLD), [pods(OLD, 3), pods(NEW, 1, 0, failing=True)],
        {OLD: 3, NEW: 1}, ALL_OLD, "Progressing"),
    "more replicas while the new revision fails: the old one grows": (
        Request(NEW, 3, traffic=ALL_OLD), [pods(OLD, 1), pods(NEW, 1, 0, failing=True)],
        {OLD: 3, NEW: 1}, ALL_OLD, "Progressing"),
    "a new pod died half-way: traffic goes back": (
        Request(NEW, 2, traffic=ALL_NEW), [pods(OLD, 1), pods(NEW, 2, 0)], {OLD: 1, NEW: 2}, ALL_OLD,
        "Progressing"),
    "an old revision that never became ready is not waited for": (
        Request(NEW, 3), [pods(OLD, 3, 0), pods(NEW, 1)], {OLD: 2, NEW: 1}, ALL_NEW, "Progressing"),
    "an old revision that is unready for a moment is kept": (
        Request(NEW, 3, traffic=ALL_OLD), [pods(OLD, 3, 0), pods(NEW, 1, 0)], {OLD: 3, NEW: 1}, ALL_OLD,
        "Progressing"),
    "a second update before the first was done: what serves is kept, what does not goes": (
        Request(NEWER, 2, stable=OLD, traffic=ALL_OLD), [pods(OLD, 2), pods(NEW, 1, 0)],
        {OLD: 2, NEW: 0, NEWER: 0}, ALL_OLD, "Progressing"),
    "a spec taken back: the revision that still serves is the target again": (
        Request(OLD, 2, stable=OLD, traffic=ALL_OLD), [pods(OLD, 2), pods(NEW, 1, 0, failing=True)],
        {OLD: 2, NEW: 0}, ALL_OLD, "Progressing"),
    "Recreate takes the old pods away first": (
        Request(NEW, 2, Strategy(0, 2, True), traffic=ALL_OLD), [pods(OLD, 2)], {OLD: 0, NEW: 0}, ALL_OLD,
        "Recreating"),
    "Recreate waits for the last old pod's end": (
        Request(NEW, 2, Strategy(0, 2, True), traffic=ALL_OLD), [Observed(OLD, 0, 0, 0, terminating=1)],
        {OLD: 0, NEW: 0}, ALL_OLD, "Recreating"),
    "Recreate starts the new pods": (
        Request(NEW, 2, Strategy(0, 2, True), traffic=ALL_OLD), [], {NEW: 2}, ALL_OLD, "Progressing"),
    "a canary of 10 percent beside one replica": (
        Request(NEW, 1, canary=10, stable=OLD, traffic=ALL_OLD), [pods(OLD, 1), pods(NEW, 1)],
        {OLD: 1, NEW: 1}, [{"revisionName": NEW, "latestRevision": True, "percent": 10},
         {"revisionName": OLD, "percent": 90, "tag": "prev"}], "Canary"),
    "a canary that is not ready gets nothing": (
        Request(NEW, 1, canary=10, stable=OLD, traffic=ALL_OLD), [pods(OLD, 1), pods(NEW, 1, 0)],
        {OLD: 1, NEW: 1}, ALL_OLD, "Canary"),
    "a canary's share of ten pods": (
        Request(NEW, 10, canary=25, stable=OLD, traffic=ALL_OLD), [pods(OLD, 10), pods(NEW, 3)],
        {OLD: 8, NEW: 3},
        [{"revisionName": NEW, "latestRevision": True, "percent": 25},
         {"revisionName": OLD, "percent": 75, "tag": "prev"}], "Canary"),
    "a canary of 0 percent is tried out and pins the old revision": (
        Request(NEW, 2, canary=0, stable=OLD, traffic=ALL_OLD), [pods(OLD, 2), pods(NEW, 1)],
        {OLD: 2, NEW: 1}, [{"revisionName": NEW, "latestRevision": True, "percent": 0},
         {"revisionName": OLD, "percent": 100, "tag": "prev"}], "Canary"),
    "a canary's partner died": (
        Request(NEW, 1, canary=10, stable=OLD, traffic=ALL_OLD), [pods(OLD, 1, 0), pods(NEW, 1)],
        {OLD: 1, NEW: 1}, ALL_NEW, "Canary"),
    "a canary made smaller: its pods stay until the old revision has more": (
        Request(NEW, 10, canary=10, stable=OLD, traffic=ALL_OLD), [pods(OLD, 5), pods(NEW, 5)],
        {OLD: 6, NEW: 5}, [{"revisionName": NEW, "latestRevision": True, "percent": 10},
         {"revisionName": OLD, "percent": 90, "tag": "prev"}], "Canary"),
    "a canary made smaller: its pods that never served are no loss": (
        Request(NEW, 4, canary=10, stable=OLD, traffic=ALL_OLD), [pods(OLD, 2), pods(NEW, 2, 0)],
        {OLD: 3, NEW: 1}, ALL_OLD, "Canary"),
    "a canary promoted": (
        Request(NEW, 1, stable=OLD, traffic=ALL_OLD), [pods(OLD, 1), pods(NEW, 1)], {OLD: 0, NEW: 1}, ALL_NEW,
        "Progressing"),
    "canaryTrafficPercent means nothing where only one revision was ever made": (
        Request(NEW, 2, canary=10), [pods(NEW, 2)], {NEW: 2}, ALL_NEW, "Complete"),
    "canaryTrafficPercent means nothing for the revision that is rolled out": (
        Request(NEW, 2, canary=10, stable=NEW, traffic=ALL_NEW), [pods(OLD, 1), pods(NEW, 2)],
        {OLD: 0, NEW: 2}, ALL_NEW, "Progressing"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_step(name: str) -> None:
    request, observed, replicas, traffic, phase = CASES[name]
    done = step(request, *observed)
    assert (dict(done.replicas), done.traffic, done.phase) == (replicas, traffic, phase)


class TestHandOver:
    request = Request(NEW, 1, stable=OLD, traffic=ALL_OLD, hand_over_after=60.0)
    waiting = pods(NEW, 1, 0, unschedulable=Unschedulable(NO_GPU, since=1000.0), requests=GPU)
    holding = pods(OLD, 1, requests=GPU)

    def test_is_announced_and_not_done_before_its_time(self) -> None:
        done = step(self.request, self.holding, self.waiting, now=1059.9)
        assert done.hand_over == HandOver(OLD, ("nvidia.com/gpu",), due=1060.0)
        assert (done.replicas, done.handing_over, done.phase) == ({OLD: 1, NEW: 1}, False, "Progressing")

    def test_takes_the_old_pod_away_when_due(self) -> None:
        done = step(self.request, self.holding, self.waiting, now=1060.0)
        assert (done.replicas, done.handing_over, done.phase) == ({OLD: 0, NEW: 1}, True, "HandingOver")
        assert done.traffic == ALL_OLD

    def test_once_begun_goes_on_when_the_new_pod_found_its_node(self) -> None:
        begun = replace(self.request, replicas=2, handing_over=True)
        done = step(begun, pods(OLD, 1, requests=GPU), pods(NEW, 1, 0, requests=GPU), now=1061.0)
        assert (done.replicas, done.handing_over) == ({OLD: 1, NEW: 2}, True)
        done = step(begun, pods(OLD, 1, requests=GPU), pods(NEW, 2, 1, requests=GPU), now=1070.0)
        assert done.replicas == {OLD: 0, NEW: 2}

    def test_takes_one_pod_of_several_at_a_time(self) -> None:
        request = replace(self.request, replicas=3)
        done = step(request, pods(OLD, 3, requests=GPU), self.waiting, now=2000.0)
        assert done.replicas == {OLD: 2, NEW: 1}

    @pytest.mark.parametrize(
        ("held", "message"),
        [
            ({"cpu": Decimal(2)}, NO_GPU),
            ({"nvidia.com/gpu": Decimal(1)}, NO_GPU.replace("nvidia.com/gpu", "cpu")),
            ({"nvidia.com/gpu": Decimal(1)}, "0/1 nodes are available: 1 node(s) had untolerated taint."),
            (GPU, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu, 1 Insufficient memory."),
        ],
        ids=["holds none", "holds less", "not a resource", "holds one of two"],
    )
    def test_is_not_done_where_the_old_pod_does_not_hold_what_is_missing(
        self, held: dict[str, Decimal], message: str
    ) -> None:
        waiting = replace(self.waiting, unschedulable=Unschedulable(message, 0.0))
        done = step(self.request, replace(self.holding, requests=held), waiting, now=9999.0)
        assert (done.replicas, done.hand_over, done.handing_over) == ({OLD: 1, NEW: 1}, None, False)

    def test_is_not_done_under_a_canary_which_asks_for_both(self) -> None:
        done = step(replace(self.request, canary=10), self.holding, self.waiting, now=9999.0)
        assert (done.replicas, done.hand_over) == ({OLD: 1, NEW: 1}, None)

    def test_needs_an_old_pod(self) -> None:
        done = step(self.request, self.waiting, now=9999.0)
        assert (done.replicas, done.hand_over, done.handing_over) == ({NEW: 1}, None, False)


@pytest.mark.parametrize(
    ("given", "replicas", "expected"),
    [
        (None, 1, Strategy(1, 0)),
        ({}, 1, Strategy(1, 0)),
        ({"type": "RollingUpdate"}, 4, Strategy(1, 0)),
        ({"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}, 1, Strategy(1, 0)),
        ({"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}, 10, Strategy(3, 2)),
        ({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}, 2, Strategy(0, 1)),
        ({"rollingUpdate": {"maxSurge": "0", "maxUnavailable": "0"}}, 2, Strategy(0, 1)),
        ({"rollingUpdate": {"maxSurge": "a lot"}}, 2, Strategy(1, 0)),
        ({"type": "Recreate"}, 3, Strategy(0, 3, True)),
    ],
)  # fmt: skip
def test_strategy_in_pods(given: dict[str, Any] | None, replicas: int, expected: Strategy) -> None:
    assert parse_strategy(given, replicas) == expected
