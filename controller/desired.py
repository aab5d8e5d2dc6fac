"""From one view of the cluster to everything that is wanted in it. Pure: no client, no clock."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controller.caches import View
from controller.observation import (
    SaidOf,
    StateOf,
    chosen_backend,
    deployment_troubles,
    first_start,
    nothing_said,
    observe_revisions,
    pod_reports,
)
from controller.target import Target, find_target
from stoker.kube.resource import (
    CONTROLLER_REVISIONS,
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    SERVICES,
    Object,
    Resource,
)
from stoker.serving import names
from stoker.serving.api.objects import InferenceService, read_inference_service
from stoker.serving.problems import FieldProblem, Invalid
from stoker.serving.rollouts import children
from stoker.serving.rollouts.revisions import Revision, revision_number, to_prune
from stoker.serving.rollouts.rollout import Plan, Request, parse_strategy, plan
from stoker.serving.settings import Settings
from stoker.serving.status.judge import Situation, model_of

# What serves, and goes once it is not wanted. Revisions are the record of it and stay.
RUNNING_CHILDREN = (DEPLOYMENTS, SERVICES, POD_DISRUPTION_BUDGETS)


@dataclass(frozen=True)
class Child:
    """One object as it is wanted. `live`: as it is, None where it is missing."""

    resource: Resource
    wanted: Object
    live: Object | None


@dataclass(frozen=True)
class Desired:
    """What is wanted of the cluster for one InferenceService."""

    situation: Situation
    new_revision: Object | None = None  # to be stored before anything is made from it
    keep: Sequence[Child] = ()  # to be applied at any time
    shrink: Sequence[Child] = ()  # Deployments with fewer pods than now: once the traffic has moved
    delete: Sequence[tuple[Resource, Object]] = ()
    check_after: float | None = None  # seconds until time alone changes something
    hand_over: str = ""  # the words, where a hand-over begins now


def desire(
    view: View, settings: Settings, state_of: StateOf, now: float, said_of: SaidOf = nothing_said
) -> Desired:
    """Everything wanted. `now`: seconds since the epoch."""
    isvc, problems = read_inference_service(view.obj)
    problems = [*problems, *_deadline_problems(isvc, settings)]
    target = find_target(view, isvc, Invalid(*problems) if problems else None, settings)
    reports = pod_reports(view, state_of, said_of)
    replicas = max(1, isvc.predictor.min_replicas)
    situation = Situation(
        name=isvc.name,
        generation=isvc.generation,
        url=names.url(isvc.name, isvc.namespace, settings),
        address=names.address(isvc.name, isvc.namespace, settings),
        replicas=replicas,
        strategy=parse_strategy(isvc.predictor.deployment_strategy, replicas),
        target=target.revision,
        model=model_of(target.revision, isvc) if target.revision else "",
        observed=observe_revisions(view, target.stored, reports),
        reports=reports,
        deployments=deployment_troubles(view),
        problem=target.problem,
        gateway_ready=view.gateway_ready,
        cold_start=first_start(view, target.revision, state_of) if target.revision else None,
        backend=chosen_backend(view, target.revision, state_of) if target.revision else None,
        before=view.obj.get("status") or {},
    )
    if isvc.annotations.get(names.STOP_ANNOTATION, "").lower() == "true":
        return _stopped(view, situation, target)
    if problems or target.revision is None:
        # Nothing sure is known of what is wanted, so what runs is left alone.
        return Desired(situation)
    return _Planned(view, isvc, settings, target=target, situation=situation, now=now).desired()


def _stopped(view: View, situation: Situation, target: Target) -> Desired:
    """No pods and nothing that leads to them. Revisions stay: what comes back is what was."""
    running = [
        (resource, obj)
        for resource in RUNNING_CHILDREN
        for obj in view.children[resource].values()
        if view.controls(obj)
    ]
    stored = None if target.is_new else target.revision
    return Desired(dataclasses.replace(situation, stopped=True, target=stored), delete=running)


def _deadline_problems(isvc: InferenceService, settings: Settings) -> Sequence[FieldProblem]:
    try:
        children.progress_deadline(isvc.annotations, settings)
    except Invalid as error:
        return error.problems
    return ()


class _Planned:
    """The children of an InferenceService whose target is known."""

    def __init__(
        self,
        view: View,
        isvc: InferenceService,
        settings: Settings,
        *,
        target: Target,
        situation: Situation,
        now: float,
    ) -> None:
        assert target.revision is not None
        self.view, self.isvc, self.settings = view, isvc, settings
        self.target, self.revision = target, target.revision
        self.situation = situation
        self.live = view.children[DEPLOYMENTS]
        self.began = _hand_over_began(self.live.get(self.revision.name))
        self.plan = self._plan(now)
        if self.plan.handing_over and self.began is None:
            self.began = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            self.begins = True
        else:
            self.begins = False
        self.now = now

    def desired(self) -> Desired:
        """All of it."""
        deployments = list(self._deployments())
        smaller = [each for each in deployments if _shrinks(each)]
        kept = [self._service(), *self._budget(), *(each for each in deployments if not _shrinks(each))]
        coming = self.plan.hand_over if not self.plan.handing_over else None
        return Desired(
            situation=dataclasses.replace(self.situation, plan=self.plan),
            new_revision=(
                children.controller_revision(self.isvc, self.revision) if self.target.is_new else None
            ),
            keep=kept,
            shrink=smaller,
            delete=list(self._unwanted([*kept, *smaller])),
            check_after=max(0.0, coming.due - self.now) if coming else None,
            hand_over=self._hand_over_words() if self.begins else "",
        )

    def _plan(self, now: float) -> Plan:
        predictor: Any = (self.situation.before.get("components") or {}).get("predictor") or {}
        request = Request(
            target=self.revision.name,
            replicas=self.situation.replicas,
            strategy=self.situation.strategy,
            canary=self.isvc.predictor.canary_traffic_percent,
            stable=predictor.get("latestRolledoutRevision"),
            traffic=predictor.get("traffic") or (),
            handing_over=self.began is not None,
            hand_over_after=self.settings.hand_over_after,
        )
        return plan(request, list(self.situation.observed.values()), now)

    def _deployments(self) -> Iterable[Child]:
        """The target's, and those of other revisions as long as they have pods or are to have some."""
        for name, replicas in self.plan.replicas.items():
            is_target = name == self.revision.name
            revision = self.revision if is_target else self._stored(name)
            if revision is None or not (is_target or self._occupied(name, replicas)):
                continue
            began = self.began if is_target and self.plan.handing_over else None
            wanted = children.deployment(self.isvc, revision, replicas, self.settings, began)
            yield Child(DEPLOYMENTS, wanted, self.live.get(name))

    def _stored(self, name: str) -> Revision | None:
        """A revision by name; one whose ControllerRevision somebody deleted, from its Deployment."""
        live = self.live.get(name)
        if name in self.target.stored or live is None:
            return self.target.stored.get(name)
        return Revision(name, revision_number(name) or 0, {}, live["spec"]["template"], None)

    def _occupied(self, name: str, replicas: int) -> bool:
        observed = self.situation.observed.get(name)
        return replicas > 0 or (observed is not None and observed.asked > 0)

    def _service(self) -> Child:
        wanted = children.service(self.isvc, self.revision)
        return Child(SERVICES, wanted, self._live(SERVICES, wanted))

    def _budget(self) -> list[Child]:
        if self.situation.replicas < 2:
            return []
        wanted = children.disruption_budget(self.isvc)
        return [Child(POD_DISRUPTION_BUDGETS, wanted, self._live(POD_DISRUPTION_BUDGETS, wanted))]

    def _live(self, resource: Resource, wanted: Object) -> Object | None:
        return self.view.children[resource].get(wanted["metadata"]["name"])

    def _unwanted(self, wanted: Sequence[Child]) -> Iterable[tuple[Resource, Object]]:
        """What this InferenceService controls and does not want any more; by label, minus wanted."""
        named = {(each.resource, each.wanted["metadata"]["name"]) for each in wanted}
        for resource in RUNNING_CHILDREN:
            for name, obj in self.view.children[resource].items():
                if (resource, name) not in named and self.view.controls(obj) and self._may_go(resource, name):
                    yield resource, obj
        in_use = [self.revision.name, *(name for name in self.live if self._occupied(name, 0))]
        for revision in to_prune(list(self.target.stored.values()), in_use):
            yield CONTROLLER_REVISIONS, self.view.children[CONTROLLER_REVISIONS][revision.name]

    def _may_go(self, resource: Resource, name: str) -> bool:
        """A Deployment of which no stored revision is left is still not deleted under its pods."""
        return resource != DEPLOYMENTS or not self._occupied(name, self.plan.replicas.get(name, 0))

    def _hand_over_words(self) -> str:
        over = self.plan.hand_over
        if over is None:
            return ""
        held, waited = ", ".join(over.resources), self.settings.hand_over_after
        return f"{self.revision.name} waited {waited:g} s for {held} that {over.holder} holds, and takes over"


def _shrinks(child: Child) -> bool:
    live = child.live
    return live is not None and child.wanted["spec"]["replicas"] < int(live["spec"].get("replicas", 1))


def _hand_over_began(deployment: Object | None) -> str | None:
    annotations: Any = ((deployment or {}).get("metadata") or {}).get("annotations") or {}
    began: str | None = annotations.get(children.HAND_OVER_ANNOTATION)
    return began
