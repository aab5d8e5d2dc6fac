"""Golden pairs: what is in the cluster (`CASE.input.yaml`) and what the controller makes of it.

`python -m tests.controller.golden --write` writes the outputs anew; test_golden.py compares them.

An input is one document:

    predictor:   of the InferenceService `llm` as it is now
    generation, status: of it; optional
    history:     earlier predictors, oldest first, each stored as a revision:
                 {predictor, replicas: of its Deployment if it has one, deploymentStatus,
                 annotations, lost: true where its ControllerRevision is gone}
    pods:        {revision: 1, status, state: the state document, deleting: true}
    runtimes:    instead of the shipped one; gatewayReady; now; settings
    show:        [children] shows objects whole instead of in a line

A predictor may name an earlier one by YAML's anchors.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from controller.caches import View
from controller.desired import Child, Desired, desire
from stoker.kube.resource import (
    CONTROLLER_REVISIONS,
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    SERVICES,
    Object,
    Resource,
)
from stoker.serving.api.objects import parse_inference_service, parse_runtime
from stoker.serving.rendering.render import render
from stoker.serving.rendering.selection import select_runtime
from stoker.serving.rollouts import children
from stoker.serving.rollouts.revisions import Revision, RuntimeReference, make_revision
from stoker.serving.settings import Settings
from stoker.serving.status.judge import judge
from tests import golden_pairs

FOLDER = Path(__file__).parent / "golden"
RUNTIMES = Path(__file__).parents[2] / "manifests" / "runtimes"
CASES = golden_pairs.cases(FOLDER)

BORN = "2026-01-01T00:00:00Z"


def output_of(case: str) -> str:
    """The output's text."""
    given = yaml.safe_load((FOLDER / f"{case}.input.yaml").read_text())
    desired = desired_of(given)
    status = judge(desired.situation)
    shown = _shown(desired, whole="children" in given.get("show", [])) | {"status": status}
    return golden_pairs.dumped(shown)


def desired_of(given: Object) -> Desired:
    settings = Settings.from_mapping(given.get("settings") or {})
    view, states = view_of(given, settings)
    now = datetime.fromisoformat(given.get("now", "2026-01-01T01:00:00Z")).timestamp()
    return desire(view, settings, lambda pod: states.get(pod["metadata"]["name"]), now)


def view_of(given: Object, settings: Settings) -> tuple[View, dict[str, Object]]:
    """The view, and the pods' state documents by name."""
    runtimes = given.get("runtimes") or [shipped_runtime()]
    found: dict[Resource, dict[str, Object]] = {
        each: {} for each in (CONTROLLER_REVISIONS, DEPLOYMENTS, SERVICES, POD_DISRUPTION_BUDGETS)
    }
    for number, entry in enumerate(given.get("history") or [], start=1):
        _store(found, number, entry, settings)
    pods, states = [], {}
    for number, entry in enumerate(given.get("pods") or []):
        pod = _pod(number, entry, found)
        pods.append(pod)
        if "state" in entry:
            states[pod["metadata"]["name"]] = entry["state"]
    obj = service(given["predictor"], given.get("generation", 1), given.get("status"))
    return View(obj, found, pods, lambda: runtimes, given.get("gatewayReady", True)), states


def service(predictor: Object, generation: int = 1, status: Object | None = None) -> Object:
    metadata = {
        "name": "llm",
        "namespace": "default",
        "uid": "11111111-1111-1111-1111-111111111111",
        "generation": generation,
        "creationTimestamp": BORN,
        "resourceVersion": "1",
    }
    obj = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": predictor},
    }
    return obj if status is None else {**obj, "status": status}


def shipped_runtime() -> Object:
    return dict(yaml.safe_load((RUNTIMES / "kserve-huggingfaceserver.yaml").read_text()))


def rendered(predictor: Object, number: int, settings: Settings) -> Revision:
    """The revision of a predictor, from the shipped runtime."""
    isvc = parse_inference_service(service(predictor))
    runtime = select_runtime(isvc, [parse_runtime(shipped_runtime())]).runtime
    made = render(isvc, runtime, settings)
    reference = RuntimeReference.to(runtime) if runtime else None
    return make_revision("llm", number, template=made.template, inputs=made.inputs, runtime=reference)


def _store(found: dict[Resource, dict[str, Object]], number: int, entry: Object, settings: Settings) -> None:
    isvc = parse_inference_service(service(entry["predictor"]))
    revision = rendered(entry["predictor"], number, settings)
    stored = children.controller_revision(isvc, revision)
    if not entry.get("lost"):
        found[CONTROLLER_REVISIONS][revision.name] = stored
    found[SERVICES]["llm-predictor"] = children.service(isvc, revision)
    if "replicas" in entry:
        deployment = children.deployment(isvc, revision, entry["replicas"], settings)
        deployment["metadata"]["annotations"] = entry.get("annotations", {})
        deployment["metadata"]["generation"] = 1
        deployment["status"] = {"observedGeneration": 1} | entry.get("deploymentStatus", {})
        found[DEPLOYMENTS][revision.name] = deployment


def _pod(number: int, entry: Object, found: dict[Resource, dict[str, Object]]) -> Object:
    revision = f"llm-predictor-{entry['revision']:05d}"
    template = found[DEPLOYMENTS][revision]["spec"]["template"]
    metadata = {
        "name": f"{revision}-pod{number}",
        "namespace": "default",
        "uid": f"pod-{number}",
        "labels": template["metadata"]["labels"],
        "creationTimestamp": BORN,
    }
    if entry.get("deleting"):
        metadata["deletionTimestamp"] = BORN
    status = STATUSES[entry["status"]] if isinstance(entry["status"], str) else entry["status"]
    return {"metadata": metadata, "spec": template["spec"], "status": status}


_RUNNING = {"name": "kserve-container", "state": {"running": {"startedAt": BORN}}}
_SCHEDULED = {"type": "PodScheduled", "status": "True", "lastTransitionTime": BORN}
STATUSES: dict[str, Object] = {
    "new": {"phase": "Pending", "conditions": []},
    "creating": {
        "phase": "Pending",
        "conditions": [_SCHEDULED],
        "containerStatuses": [
            {"name": "kserve-container", "state": {"waiting": {"reason": "ContainerCreating"}}}
        ],
    },
    "running": {"phase": "Running", "conditions": [_SCHEDULED], "containerStatuses": [_RUNNING]},
    "ready": {
        "phase": "Running",
        "conditions": [_SCHEDULED, {"type": "Ready", "status": "True", "lastTransitionTime": BORN}],
        "containerStatuses": [_RUNNING | {"ready": True}],
    },
}


def _shown(desired: Desired, *, whole: bool) -> dict[str, Any]:
    revision = desired.new_revision
    shown = {
        "revision": (revision if whole else revision["metadata"]["name"]) if revision else None,
        "keep": [each.wanted if whole else _line(each) for each in desired.keep],
        "shrink": [_line(each) for each in desired.shrink],
        "delete": [f"{resource.kind} {obj['metadata']['name']}" for resource, obj in desired.delete],
        "checkAfter": desired.check_after,
        "handOver": desired.hand_over,
    }
    return {name: value for name, value in shown.items() if value not in (None, [], "")}


def _line(child: Child) -> str:
    words = f"{child.resource.kind} {child.wanted['metadata']['name']}"
    if child.resource != DEPLOYMENTS:
        return words
    began = (child.wanted["metadata"].get("annotations") or {}).get(children.HAND_OVER_ANNOTATION)
    return f"{words} replicas={child.wanted['spec']['replicas']}" + (
        f" hand-over since {began}" if began else ""
    )


if __name__ == "__main__":
    golden_pairs.main(__doc__, FOLDER, output_of)
