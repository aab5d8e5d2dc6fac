"""The pods and Deployments of one view, revision by revision, as the pure rules take them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from controller.caches import View
from stoker.kube.resource import DEPLOYMENTS, Object
from stoker.serving import names
from stoker.serving.rollouts.revisions import Revision
from stoker.serving.rollouts.rollout import Observed
from stoker.serving.settings import Settings
from stoker.serving.status.pods import Report, is_terminating, observe, report
from stoker.serving.status.trouble import Trouble

StateOf = Callable[[Object], Object | None]
"""The state document of a pod; None where it is unknown."""


def pod_reports(view: View, state_of: StateOf) -> dict[str, list[Report]]:
    """What each pod that is not under deletion says, by revision."""
    found: dict[str, list[Report]] = defaultdict(list)
    for pod in sorted(view.pods, key=lambda each: str(each["metadata"]["name"])):
        if not is_terminating(pod):
            found[revision_of(pod)].append(report(pod, state_of(pod)))
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


def deployment_troubles(view: View, settings: Settings) -> dict[str, Trouble]:
    """What Deployments say that no pod can: pods that cannot be created, a deadline that passed."""
    found = {name: _deployment_trouble(each, settings) for name, each in view.children[DEPLOYMENTS].items()}
    return {name: trouble for name, trouble in found.items() if trouble is not None}


def revision_of(obj: Object) -> str:
    """The revision that an object's label names; "" where there is none."""
    labels = obj["metadata"].get("labels") or {}
    return str(labels.get(names.REVISION_LABEL) or "")


def _deployment_trouble(deployment: Object, settings: Settings) -> Trouble | None:
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
        words = (
            f"not ready within the {settings.startup_deadline:g} s that a start may take (startup_deadline)"
        )
        return Trouble("ProgressDeadlineExceeded", words)
    return None


def _replicas(deployment: Object | None) -> int:
    """spec.replicas; the API server fills in 1 where it is left out."""
    return 0 if deployment is None else int(deployment["spec"].get("replicas", 1))


def _template(revision: Revision | None, deployment: Object | None) -> Object:
    if revision is not None:
        return revision.template
    return (deployment or {}).get("spec", {}).get("template") or {}
