"""The pods and Deployments of one view, revision by revision, as the pure rules take them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from controller.caches import View
from stoker.kube.resource import DEPLOYMENTS, Object
from stoker.serving import names
from stoker.serving.rollouts.children import serving_containers
from stoker.serving.rollouts.revisions import Revision
from stoker.serving.rollouts.rollout import Observed
from stoker.serving.status.backend import backend
from stoker.serving.status.cold_start import cold_start
from stoker.serving.status.pod_events import Said
from stoker.serving.status.pods import Report, is_ready, is_terminating, observe, report
from stoker.serving.status.readiness import PROGRESS_DEADLINE
from stoker.serving.status.trouble import Trouble

StateOf = Callable[[Object], Object | None]
"""The state document of a pod; {} where its server has none; None where it is unknown."""
SaidOf = Callable[[Object], Sequence[Said]]
"""What a pod's events say; empty where they were not asked."""


def nothing_said(_pod: Object) -> Sequence[Said]:
    """Of a pod whose events nobody asked for."""
    return ()


def pod_reports(view: View, state_of: StateOf, said_of: SaidOf = nothing_said) -> dict[str, list[Report]]:
    """What each pod that is not under deletion says, by revision."""
    found: dict[str, list[Report]] = defaultdict(list)
    for pod in sorted(view.pods, key=lambda each: str(each["metadata"]["name"])):
        if not is_terminating(pod):
            found[revision_of(pod)].append(report(pod, state_of(pod), said_of(pod)))
    return dict(found)


def observe_revisions(
    view: View, stored: Mapping[str, Revision], reports: Mapping[str, Sequence[Report]]
) -> dict[str, Observed]:
    """Each revision that has a Deployment or pods, in numbers."""
    pods: dict[str, list[Object]] = defaultdict(list)
    for pod in view.pods:
        pods[revision_of(pod)].append(pod)
    live = {name: each for name, each in view.children[DEPLOYMENTS].items() if view.controls(each)}
    return {
        name: observe(
            name,
            _replicas(live.get(name)),
            pods.get(name, []),
            reports.get(name, []),
            _template(stored.get(name), live.get(name)),
        )
        for name in sorted({*live, *(pods.keys() & stored.keys())})
    }


def first_start(view: View, revision: Revision, state_of: StateOf) -> Object | None:
    """The cold start of the pod of a revision that was made first, once it is ready and was asked."""
    pods = [pod for pod in view.pods if revision_of(pod) == revision.name and is_ready(pod)]
    first = min(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)
    state = state_of(first) if first is not None else None
    if first is None or state is None or state.get("phase", "Ready") != "Ready":
        return None
    serving = serving_containers(revision.template)
    return cold_start(first, state, str(serving[0]["name"])) if serving else None


def chosen_backend(view: View, revision: Revision, state_of: StateOf) -> Object | None:
    """The engine with which a revision's ready pods answer, and why, where they told."""
    pods = [pod for pod in view.pods if revision_of(pod) == revision.name and is_ready(pod)]
    return backend(state for pod in pods if (state := state_of(pod)))


def deployment_troubles(view: View) -> dict[str, Trouble]:
    """What Deployments say that no pod can: pods that cannot be created, a deadline that passed."""
    found = {name: _deployment_trouble(each) for name, each in view.children[DEPLOYMENTS].items()}
    return {name: trouble for name, trouble in found.items() if trouble is not None}


def revision_of(obj: Object) -> str:
    """The revision that an object's label names; "" where there is none."""
    labels = obj["metadata"].get("labels") or {}
    return str(labels.get(names.REVISION_LABEL) or "")


def _deployment_trouble(deployment: Object) -> Trouble | None:
    status: Any = deployment.get("status") or {}
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return None  # it speaks of a Deployment that is no more
    conditions = {each["type"]: each for each in status.get("conditions") or []}
    failure = conditions.get("ReplicaFailure")
    if failure is not None and failure["status"] == "True":
        return Trouble(
            failure.get("reason") or "FailedCreate", failure.get("message") or "pods cannot be created"
        )
    progress = conditions.get("Progressing")
    if progress is not None and progress.get("reason") == "ProgressDeadlineExceeded":
        allowed = deployment["spec"].get("progressDeadlineSeconds", 0)
        return Trouble(PROGRESS_DEADLINE, f"not ready within the {allowed:g} s allowed (progress_deadline)")
    return None


def _replicas(deployment: Object | None) -> int:
    """spec.replicas; the API server fills in 1 where it is left out."""
    return 0 if deployment is None else int(deployment["spec"].get("replicas", 1))


def _template(revision: Revision | None, deployment: Object | None) -> Object:
    if revision is not None:
        return revision.template
    return (deployment or {}).get("spec", {}).get("template") or {}
