"""The status of an InferenceService, whole, from what was observed."""

from __future__ import annotations

from typing import Any

from stoker.serving import names
from stoker.serving.api.objects import InferenceService
from stoker.serving.api.reading import Object
from stoker.serving.rendering.arguments import value_of
from stoker.serving.rendering.storage import source_of
from stoker.serving.rollouts.children import serving_containers
from stoker.serving.rollouts.revisions import Revision
from stoker.serving.status.kstatus import progress_condition
from stoker.serving.status.readiness import (
    PROGRESS_DEADLINE,
    STOPPED,
    Readiness,
    Situation,
    SpecProblem,
    Verdict,
)

__all__ = ["Situation", "SpecProblem", "judge", "model_of"]

LONGEST_MESSAGE = 1024

# KServe's FailureReason: its clients know these words only.
_LOAD_FAILED, _UNHEALTHY = "ModelLoadFailed", "RuntimeUnhealthy"
_UNHEALTHY_REASONS = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "Evicted",
        "FailedCreate",
        "FailedCreatePodSandBox",
        "FailedMount",
        "ImagePullFailed",
        "InvalidImageName",
        "LivenessProbeFailed",
        "PodFailed",
        "PostStartHookError",
        "ProgressDeadlineExceeded",
        "StartError",
        "StartupProbeFailed",
        "Unschedulable",
    }
)


def judge(situation: Situation) -> Object:
    """The status. Its conditions have no lastTransitionTime: when something changed is not known here."""
    facts = Readiness(situation)
    ready = facts.ready()
    conditions = {
        "PredictorReady": facts.predictor(),
        "IngressReady": facts.ingress(),
        "LatestDeploymentReady": facts.latest(),
        "Ready": ready,
    }
    generic = progress_condition(ready.status, ready.reason, deadline_passed=facts.deadline_passed)
    if situation.stopped:
        conditions[STOPPED] = facts.stopped()._replace(status="True")
        generic = "Reconciling" if any(situation.reports.values()) else None  # without pods it is as wanted
    if generic is not None:
        late = generic == "Stalled" and facts.deadline_passed
        conditions[generic] = Verdict("True", PROGRESS_DEADLINE if late else ready.reason, ready.message)
    status: Object = {
        "observedGeneration": situation.generation,
        "conditions": [_condition(name, each, situation.generation) for name, each in conditions.items()],
        "url": situation.url,
        "address": {"url": situation.address},
        "deploymentMode": "Standard",
        "components": {"predictor": _component(facts)},
        "modelStatus": _model_status(facts),
        "summary": _summary(facts, ready),
    }
    return status | _runtime(situation) | _filled(coldStart=_cold_start(facts), backend=_backend(facts))


def model_of(revision: Revision, isvc: InferenceService) -> str:
    """Which model a revision serves, for people: its id or address, else the name it is served under."""
    source = source_of(revision.template)
    if source is not None:
        return source
    for container in serving_containers(revision.template)[:1]:
        for flag in ("model_id", "model_dir"):
            if value := value_of(container.get("args") or [], flag):
                return value
    model = isvc.predictor.model
    return (model.storage_uri if model else None) or isvc.name


def _condition(name: str, verdict: Verdict, generation: int) -> Object:
    return {
        "type": name,
        "status": verdict.status,
        "reason": verdict.reason,
        "message": _cut(verdict.message),
        "observedGeneration": generation,
    }


def _component(facts: Readiness) -> Object:
    """`components.predictor`: revisions and traffic."""
    rolled_out = facts.before.get("latestRolledoutRevision")
    previous = facts.before.get("previousRolledoutRevision")
    done = facts.latest().status == "True" and not facts.others and facts.target.ready > 0
    if done and rolled_out != facts.name:
        rolled_out, previous = facts.name, rolled_out
    address = facts.situation.address
    return _filled(
        latestCreatedRevision=facts.name or None,
        latestReadyRevision=facts.name if facts.target.ready else facts.before.get("latestReadyRevision"),
        latestRolledoutRevision=rolled_out,
        previousRolledoutRevision=previous,
        traffic=facts.traffic,
        url=address,
        address={"url": address},
    )


def _model_status(facts: Readiness) -> Object:
    """KServe's view: states of the model that serves and of the one that is to, and the failure if any."""
    failed, latest = facts.trouble, facts.latest()
    reports = facts.situation.reports
    if facts.situation.problem is not None:
        transition, target = "InvalidSpec", "FailedToLoad"
    elif failed is not None and latest.status == "False" and failed.reason != "Unschedulable":
        transition, target = "BlockedByFailedLoad", "FailedToLoad"
    else:
        transition = "UpToDate" if latest.status == "True" else "InProgress"
        running = any(each.running for each in reports.get(facts.name, ()))
        target = "Loaded" if facts.target.ready else "Loading" if running else "Pending"
    troubles = [each.trouble for some in reports.values() for each in some if each.trouble and not each.ended]
    return _filled(
        transitionStatus=transition,
        states={"activeModelState": "Loaded" if facts.ready_pods else target, "targetModelState": target},
        copies={
            "failedCopies": sum(trouble.reason != "Unschedulable" for trouble in troubles),
            "totalCopies": facts.ready_pods,
        },
        lastFailureInfo=_failure(facts),
    )


def _failure(facts: Readiness) -> Object | None:
    """What is wrong now; None, and so cleared, once nothing is."""
    problem, trouble = facts.situation.problem, facts.trouble
    if problem is not None:
        return {"reason": problem.reason, "message": _cut(problem.message)}
    if trouble is None:
        return None
    return _filled(
        reason=_UNHEALTHY if trouble.reason in _UNHEALTHY_REASONS else _LOAD_FAILED,
        message=_cut(trouble.message),
        location=trouble.pod or None,
        modelRevisionName=facts.name,
        time=trouble.time,
        exitCode=trouble.exit_code,
    )


def _cold_start(facts: Readiness) -> Object | None:
    """What was measured stays until another revision is measured: pods forget, and so does the controller."""
    before: Object | None = facts.situation.before.get("coldStart")
    measured = facts.situation.cold_start
    if measured is None or (before is not None and before.get("revisionName") == facts.name):
        return before
    return {"revisionName": facts.name, **measured}


def _backend(facts: Readiness) -> Object | None:
    """What a ready pod told last: one that was ready before the controller started is not asked again."""
    told = facts.situation.backend
    return facts.situation.before.get("backend") if told is None else {"revisionName": facts.name, **told}


def _summary(facts: Readiness, ready: Verdict) -> Object:
    """Strings for the columns of `kubectl get -o wide`."""
    situation = facts.situation
    runtime = situation.target.runtime if situation.target else None
    return {
        "reason": "" if ready.status == "True" else ready.reason,
        "replicas": f"{facts.ready_pods}/{facts.wanted}",
        "runtime": runtime.name if runtime else "",
        "model": situation.model,
    }


def _runtime(situation: Situation) -> Object:
    """The pinned runtime, in KServe's fields."""
    runtime = situation.target.runtime if situation.target else None
    if runtime is None:
        return {}
    cluster = runtime.kind == names.CLUSTER_RUNTIME_KIND
    return {"clusterServingRuntimeName" if cluster else "servingRuntimeName": runtime.name}


def _filled(**fields: Any) -> Object:
    """The fields that say something: the API server does not store null, and an absent field is cleared."""
    return {name: value for name, value in fields.items() if value is not None}


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 3]}..."
