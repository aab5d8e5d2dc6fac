"""The rollout's promises, held against clusters in which pods start, die and fail at any moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hypothesis import event, given, settings
from hypothesis import strategies as st

from stoker.serving.rollouts.rollout import Observed, Plan, Request, Strategy, plan

Pod = Literal["starting", "ready"]
REVISIONS = ["a-predictor-00001", "a-predictor-00002", "a-predictor-00003"]


@dataclass
class Revision:
    """A Deployment and its pods, as ReplicaSets and kubelets would have them."""

    wanted: int = 0
    pods: list[Pod] = field(default_factory=list)
    failing: bool = False

    def replicate(self) -> None:
        self.pods += ["starting"] * (self.wanted - len(self.pods))
        self.pods.sort(key=lambda pod: pod != "ready")  # ready ones are ended last
        del self.pods[self.wanted :]

    def observed(self, name: str) -> Observed:
        ready = self.pods.count("ready")
        return Observed(
            name, self.wanted, len(self.pods), ready, failing=self.failing and ready < len(self.pods)
        )


class Cluster:
    def __init__(self, replicas: int, strategy: Strategy) -> None:
        self.replicas = replicas
        self.strategy = strategy
        self.canary: int | None = None
        self.target = REVISIONS[0]
        self.stable: str | None = None
        self.traffic: list[dict[str, object]] = []
        self.revisions = {name: Revision() for name in REVISIONS}

    def step(self, replicate: bool = True) -> Plan:
        """One reconcile: more pods at once, fewer only where the traffic was moved before."""
        done = self.ask()
        asked, ready = self.asked(), self.kept_ready()
        for name, revision in self.revisions.items():
            wanted = done.replicas.get(name, 0)
            if wanted > revision.wanted or done.traffic == self.traffic:
                revision.wanted = wanted
        self.traffic = done.traffic
        room = max(self.replicas + self.strategy.max_surge, sum(done.goals.values()))
        assert self.asked() <= max(room, asked), "more pods than replicas + maxSurge"
        least = self.replicas - self.strategy.max_unavailable
        assert self.kept_ready() >= min(least, ready), "ready pods taken away though too few are ready"
        self.check_traffic()
        if done.phase == "Complete":
            self.stable = self.target
        if replicate:
            self.replicate()
        return done

    def ask(self) -> Plan:
        request = Request(self.target, self.replicas, self.strategy, self.canary, self.stable, self.traffic)
        return plan(request, [revision.observed(name) for name, revision in self.revisions.items()], 0.0)

    def replicate(self) -> None:
        for revision in self.revisions.values():
            revision.replicate()

    def asked(self) -> int:
        return sum(max(each.wanted, len(each.pods)) for each in self.revisions.values())

    def kept_ready(self) -> int:
        return sum(min(each.pods.count("ready"), each.wanted) for each in self.revisions.values())

    def check_traffic(self) -> None:
        if not self.traffic:
            return
        assert sum(entry["percent"] for entry in self.traffic) == 100  # type: ignore[misc]
        assert [entry for entry in self.traffic if entry.get("latestRevision")] == self.traffic[:1]
        tags = [entry.get("tag") for entry in self.traffic[1:]]
        assert tags == ["prev", None][: len(tags)]

    def settle(self) -> int:
        """All pods become ready; how many steps until nothing changes."""
        self.canary = None
        for revision in self.revisions.values():
            revision.failing = False
        for steps in range(200):
            self.replicate()
            for revision in self.revisions.values():
                revision.pods = ["ready"] * len(revision.pods)
            before = (self.traffic, {name: each.wanted for name, each in self.revisions.items()})
            self.step()
            if before == (self.traffic, {name: each.wanted for name, each in self.revisions.items()}):
                return steps
        raise AssertionError("the rollout never ends")


ACTIONS = st.one_of(
    st.tuples(st.just("step"), st.booleans()),
    st.tuples(st.sampled_from(["start", "die"]), st.sampled_from(REVISIONS)),
    st.tuples(st.just("fail"), st.sampled_from(REVISIONS), st.booleans()),
    st.tuples(st.just("update"), st.sampled_from(REVISIONS)),
    st.tuples(st.just("canary"), st.one_of(st.none(), st.integers(0, 100))),
    st.tuples(st.just("scale"), st.integers(1, 6)),
)
STRATEGIES = st.one_of(
    st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(any).map(lambda pair: Strategy(*pair)),
    st.just(Strategy(0, 6, recreate=True)),
)


def act(cluster: Cluster, action: tuple[object, ...]) -> None:
    match action:
        case ("step", bool(replicate)):
            cluster.step(replicate)
        case ("start", str(name)):
            pods = cluster.revisions[name].pods
            if "starting" in pods:
                pods[pods.index("starting")] = "ready"
        case ("die", str(name)):
            pods = cluster.revisions[name].pods
            if "ready" in pods:
                pods[pods.index("ready")] = "starting"
        case ("fail", str(name), bool(failing)):
            cluster.revisions[name].failing = failing
        case ("update", str(name)):
            cluster.target = name
        case ("canary", percent):
            cluster.canary = percent  # type: ignore[assignment]
        case ("scale", int(replicas)):
            cluster.replicas = replicas


@settings(max_examples=400, deadline=None)
@given(st.integers(1, 6), STRATEGIES, st.lists(ACTIONS, max_size=60))
def test_promises_hold_and_it_ends(
    replicas: int, strategy: Strategy, actions: list[tuple[object, ...]]
) -> None:
    cluster = Cluster(replicas, strategy)
    for action in actions:
        act(cluster, action)
    event(f"revisions live: {sum(1 for each in cluster.revisions.values() if each.wanted)}")
    cluster.settle()
    assert {name: each.wanted for name, each in cluster.revisions.items() if each.wanted} == {
        cluster.target: cluster.replicas
    }
    assert cluster.traffic == [{"revisionName": cluster.target, "latestRevision": True, "percent": 100}]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 6), st.integers(1, 3), st.lists(st.sampled_from(["step", "start"]), max_size=40))
def test_a_revision_that_never_starts_leaves_the_old_one_whole(
    replicas: int, surge: int, actions: list[str]
) -> None:
    cluster = Cluster(replicas, Strategy(surge, 0))
    cluster.settle()
    cluster.target = REVISIONS[1]
    for action in actions:
        act(cluster, ("step", True) if action == "step" else ("start", REVISIONS[0]))
        assert cluster.revisions[REVISIONS[0]].pods == ["ready"] * replicas
        assert cluster.traffic == [{"revisionName": REVISIONS[0], "latestRevision": True, "percent": 100}]


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(0, 100),
    st.lists(ACTIONS.filter(lambda each: each[0] in {"step", "start"})),
)
def test_a_canary_holds_both_and_its_weights(
    replicas: int, percent: int, actions: list[tuple[object, ...]]
) -> None:
    cluster = Cluster(replicas, Strategy(1, 0))
    cluster.settle()
    cluster.target, cluster.canary = REVISIONS[1], percent
    for action in actions:
        act(cluster, action)
        assert cluster.revisions[REVISIONS[0]].wanted >= 1
        assert cluster.asked() <= replicas + 1
    for _ in range(4 * replicas):
        for each in cluster.revisions.values():
            each.pods = ["ready"] * len(each.pods)
        cluster.step()
    assert cluster.traffic == [
        {"revisionName": REVISIONS[1], "latestRevision": True, "percent": percent},
        {"revisionName": REVISIONS[0], "percent": 100 - percent, "tag": "prev"},
    ]
