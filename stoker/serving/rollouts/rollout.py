"""One step of a rollout: from what there is to what each revision's Deployment should ask for next.

A pure function of what is observed, so that it may be asked at any time, by any process, as often as one
likes. It promises, for a number of replicas R, maxSurge S and maxUnavailable U:

- never more than R + S pods are asked for (a canary may hold R + 1: one at least of each revision);
- it takes away no ready pod while fewer than R - U others are ready;
- pods of the target take its place as they become ready, so it ends as soon as they do;
- pods of a revision that fails are not multiplied, and what it was to replace goes on serving.

A Deployment's own rolling update is never used: each revision has a Deployment whose template never changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from stoker.serving.api.reading import Object
from stoker.serving.rollouts.scheduling import frees_enough, insufficient
from stoker.serving.rollouts.traffic import Weights, table

Phase = Literal["Complete", "Progressing", "Canary", "Recreating", "HandingOver"]


@dataclass(frozen=True)
class Strategy:
    """`deploymentStrategy` in whole pods. `recreate`: the old pods end before the new ones start."""

    max_surge: int = 1
    max_unavailable: int = 0
    recreate: bool = False


@dataclass(frozen=True)
class Unschedulable:
    """The scheduler's words about a pod, and since when (seconds since the epoch) they hold."""

    message: str
    since: float


@dataclass(frozen=True)
class Observed:
    """One revision as it is now. Pods under deletion count only as `terminating`."""

    name: str
    wanted: int = 0  # spec.replicas of its Deployment; 0 where there is none
    total: int = 0
    ready: int = 0
    terminating: int = 0
    failing: bool = False
    unschedulable: Unschedulable | None = None
    requests: Mapping[str, Decimal] = field(default_factory=dict)  # of one pod, by resource

    @property
    def asked(self) -> int:
        """Pods that exist or will without anything more being done."""
        return max(self.wanted, self.total)


@dataclass(frozen=True)
class HandOver:
    """The target waits for what `holder` holds; at `due` (seconds since the epoch) it is taken away."""

    holder: str
    resources: tuple[str, ...]
    due: float


@dataclass(frozen=True)
class Request:
    """What is wanted. `target`: the revision of the InferenceService's spec as it is now."""

    target: str
    replicas: int
    strategy: Strategy = Strategy()
    canary: int | None = None  # canaryTrafficPercent
    stable: str | None = None  # the revision that was rolled out last
    traffic: Sequence[Object] = ()  # the table as it is
    handing_over: bool = False  # begun before; kept until the rollout ends
    hand_over_after: float = 60.0  # seconds


@dataclass(frozen=True)
class Plan:
    """What to do next. `replicas` names each observed revision and the target.

    Lower numbers may be applied only once `traffic` is what the gateway is told: traffic moves first.
    """

    replicas: Mapping[str, int]
    traffic: list[Object]
    phase: Phase
    handing_over: bool = False
    hand_over: HandOver | None = None  # one that is coming or, where `handing_over`, has just begun
    goals: Mapping[str, int] = field(default_factory=dict)  # where the replicas are going


def parse_strategy(given: Object | None, replicas: int) -> Strategy:
    """A Deployment's `strategy` in whole pods: percentages of surge round up, of unavailability down.

    One pod of room is needed, so both zero become maxUnavailable 1, as Kubernetes has it.
    """
    if not given:
        return Strategy()
    if given.get("type") == "Recreate":
        return Strategy(max_surge=0, max_unavailable=max(replicas, 1), recreate=True)
    rolling = given.get("rollingUpdate") or {}
    surge = _pods(rolling.get("maxSurge"), replicas, 1, math.ceil)
    unavailable = _pods(rolling.get("maxUnavailable"), replicas, 0, math.floor)
    return Strategy(surge, unavailable if surge or unavailable else 1)


def plan(request: Request, observed: Sequence[Observed], now: float) -> Plan:
    """The next step. `now`: seconds since the epoch, for a hand-over that comes due."""
    seen = {each.name: each for each in observed}
    target = seen.setdefault(request.target, Observed(request.target))
    others = {each.name: each for each in observed if each.name != target.name and _lives(each, request)}
    old = _old(others, request.stable)
    canary = request.canary if old is not None and request.stable != target.name else None
    hand_over = _hand_over(request, target, list(others.values())) if old and canary is None else None
    begun = (
        bool(others)
        and canary is None
        and (request.handing_over or (hand_over is not None and now >= hand_over.due))
    )
    step = _Step(request, target, others, old=old, canary=canary, handing_over=begun)
    step.grow()
    step.shrink()
    replicas = {name: step.next.get(name, 0) for name in seen}
    weights = Weights(
        ready={name: min(each.ready, replicas[name]) for name, each in seen.items()},
        target=target.name,
        old=old.name if old else None,
        canary=canary,
    )
    if not others:
        phase: Phase = "Complete" if target.ready >= request.replicas else "Progressing"
    elif canary is not None:
        phase = "Canary"
    elif begun:
        phase = "HandingOver"
    else:
        phase = "Recreating" if request.strategy.recreate else "Progressing"
    return Plan(replicas, table(weights, request.traffic), phase, begun, hand_over, step.goals)


class _Step:
    """The arithmetic of one step. `next` starts as what is asked for now."""

    def __init__(
        self,
        request: Request,
        target: Observed,
        others: Mapping[str, Observed],
        *,
        old: Observed | None,
        canary: int | None,
        handing_over: bool,
    ) -> None:
        self.target = target
        self.others = others
        self.old = old
        self.live = {**others, target.name: target}
        self.recreate = request.strategy.recreate and canary is None
        self.goals = _goals(request.replicas, target, others, old, canary)
        unavailable = max(request.strategy.max_unavailable, 1 if handing_over else 0)
        self.least_ready = max(0, request.replicas - unavailable)
        self.most = max(request.replicas + request.strategy.max_surge, sum(self.goals.values()))
        self.next = {name: each.wanted for name, each in self.live.items()}

    def grow(self) -> None:
        """Ask for more pods where room is, the target's first."""
        room = self.most - sum(each.asked for each in self.live.values())
        goal = self.goals[self.target.name]
        blocked = bool(self.others) and (self.recreate or (self.target.failing and self.target.wanted > 0))
        if not blocked:
            if not self.others:
                room = goal  # alone there is nothing to keep within bounds
            added = max(0, min(goal - self.target.wanted, room))
            self.next[self.target.name] += added
            room -= added
        if self.old is not None:
            # The old revision grows towards its share of a canary, and back up where it alone carries
            # the service: more replicas were asked for, or the new one's pods died.
            wanted = max(self.goals[self.old.name], 0 if self.recreate else self._missing())
            self.next[self.old.name] += max(0, min(wanted - self.old.wanted, room))

    def shrink(self) -> None:
        """Ask for fewer pods where enough others are ready, pods of the old revision last."""
        need = min(self.least_ready, self._ready())
        for name in sorted(
            self.others, key=lambda each: (self.old is not None and each == self.old.name, each)
        ):
            self._shrink(name, need)
        self._shrink(self.target.name, need)

    def _shrink(self, name: str, need: int) -> None:
        """Pods that are not ready go first: Kubernetes ends those before ready ones."""
        each, goal = self.live[name], self.goals[name]
        if self.next[name] <= goal:
            return
        elsewhere = self._ready() - min(each.ready, self.next[name])
        # Pods on their way up, of a revision that is to go, are kept too as long as too little is ready:
        # a whole revision may be unready for a moment, and the new one may never be.
        kept = self.least_ready - self._settled(without=name) if name != self.target.name else 0
        self.next[name] = min(self.next[name], max(goal, need - elsewhere, kept))

    def _ready(self) -> int:
        return sum(min(each.ready, self.next[name]) for name, each in self.live.items())

    def _settled(self, without: str) -> int:
        """Pods to count on besides one revision's: ready ones of those that stay, any of those that go."""
        return sum(
            self.next[name] if self.next[name] > self.goals[name] else min(each.ready, self.next[name])
            for name, each in self.live.items()
            if name != without
        )

    def _missing(self) -> int:
        """How many pods the old revision needs for the service to have its least."""
        assert self.old is not None
        return self.least_ready - self._settled(without=self.old.name)


def _goals(
    replicas: int, target: Observed, others: Mapping[str, Observed], old: Observed | None, canary: int | None
) -> dict[str, int]:
    goals = {**dict.fromkeys(others, 0), target.name: replicas}
    if canary is not None and old is not None and replicas > 0:
        goals[target.name] = max(1, math.ceil(replicas * canary / 100))
        goals[old.name] = max(1, math.ceil(replicas * (100 - canary) / 100))
    return goals


def _lives(each: Observed, request: Request) -> bool:
    """Whether a revision has to be reckoned with: under Recreate until its last pod is gone."""
    return each.asked > 0 or (request.strategy.recreate and each.terminating > 0)


def _old(others: Mapping[str, Observed], stable: str | None) -> Observed | None:
    """Of the revisions to be replaced the one that serves: rolled out last, else with most ready pods."""
    if stable is not None and stable in others:
        return others[stable]
    return max(others.values(), key=lambda each: (each.ready, each.asked, each.name), default=None)


def _hand_over(request: Request, target: Observed, others: Sequence[Observed]) -> HandOver | None:
    """The hand-over that is due some time, where the target's pods wait for what an old pod holds."""
    waiting = target.unschedulable
    if waiting is None or request.strategy.recreate:
        return None
    holders = (
        each
        for each in others
        if each.asked and frees_enough(waiting.message, target.requests, each.requests)
    )
    holder = next(holders, None)
    if holder is None:
        return None
    due = waiting.since + request.hand_over_after
    return HandOver(holder.name, tuple(sorted(insufficient(waiting.message))), due)


def _pods(value: Any, replicas: int, default: int, rounded: Any) -> int:
    """An int-or-string of the API as pods; what cannot be read counts as the default."""
    if isinstance(value, bool) or value is None:
        return default
    if isinstance(value, int):
        return max(0, value)
    text = str(value).strip()
    number = text.removesuffix("%")
    if not number.isdecimal():
        return default
    return int(rounded(replicas * int(number) / 100)) if text.endswith("%") else int(number)
