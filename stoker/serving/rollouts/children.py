"""The objects that an InferenceService stands for, each whole, as it is sent to the API server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoker.serving import names
from stoker.serving.api.objects import InferenceService
from stoker.serving.api.reading import Object
from stoker.serving.problems import Invalid, child, invalid
from stoker.serving.rollouts.revisions import Revision, inputs_hash
from stoker.serving.settings import Settings

# When the hand-over to a revision began. On its Deployment, so that whoever goes on with it knows.
HAND_OVER_ANNOTATION = f"{names.DOMAIN}/hand-over"
INPUTS_HASH_ANNOTATION = f"{names.DOMAIN}/inputs-hash"

_LONGEST_DEADLINE = 604_800  # a week
_PORT_NAME = "http"
_DEFAULT_PORT = 8080


def controller_revision(isvc: InferenceService, revision: Revision) -> Object:
    """The stored form of a revision; its `data` never changes (the API server sees to that)."""
    runtime = revision.runtime
    data: Object = {"inputs": revision.inputs, "template": revision.template}
    if runtime is not None:
        data["runtime"] = {"kind": runtime.kind, "name": runtime.name}
    metadata = _metadata(isvc, revision.name, names.labels(isvc.name, revision.name))
    metadata["annotations"] = {INPUTS_HASH_ANNOTATION: inputs_hash(revision.inputs)}
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata,
        "revision": revision.number,
        "data": data,
    }


def deployment(
    isvc: InferenceService,
    revision: Revision,
    replicas: int,
    settings: Settings,
    hand_over_began: str | None = None,
) -> Object:
    """The Deployment of one revision, of the same name. Its template is the stored one and never changes.

    So Kubernetes never rolls it. The strategy matters only where someone edits the Deployment by hand: then
    a pod is added and taken away again, and none that serves is lost.
    """
    metadata = _metadata(isvc, revision.name, names.labels(isvc.name, revision.name))
    if hand_over_began is not None:
        metadata["annotations"] = {HAND_OVER_ANNOTATION: hand_over_began}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 0,
            "progressDeadlineSeconds": progress_deadline(isvc.annotations, settings),
            "selector": {"matchLabels": names.selector(isvc.name, revision.name)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": revision.template,
        },
    }


def service(isvc: InferenceService, revision: Revision) -> Object:
    """The Service in front of all ready pods, port 80; the gateway's host is where weights hold."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(isvc, names.service_name(isvc.name), names.labels(isvc.name)),
        "spec": {
            "type": "ClusterIP",
            "selector": names.selector(isvc.name),
            "ports": [
                {"name": "http", "port": 80, "protocol": "TCP", "targetPort": target_port(revision.template)}
            ],
        },
    }


def disruption_budget(isvc: InferenceService) -> Object:
    """Lets a drain take one pod at a time. Wanted from two replicas on: below, it would block every drain.

    Pods that are not ready are no loss: a crash loop must not keep a node from being drained.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(isvc, names.service_name(isvc.name), names.labels(isvc.name)),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": names.selector(isvc.name)},
        },
    }


def target_port(template: Object) -> str | int:
    """Where requests go in a pod: the port named http, else the first of the model's container, else 8080."""
    ports = [port for container in serving_containers(template) for port in container.get("ports") or []]
    if any(port.get("name") == _PORT_NAME for port in ports):
        return _PORT_NAME
    return next((int(port["containerPort"]) for port in ports if "containerPort" in port), _DEFAULT_PORT)


def serving_containers(template: Object) -> list[Any]:
    """The pod's containers, the model's first."""
    containers = (template.get("spec") or {}).get("containers") or []
    return sorted(containers, key=lambda each: each.get("name") != names.MODEL_CONTAINER)


def progress_deadline(annotations: Mapping[str, str], settings: Settings) -> int:
    """Seconds until a revision that is not ready is called stalled; Invalid where the annotation is none."""
    given = annotations.get(names.PROGRESS_DEADLINE_ANNOTATION)
    if given is None:
        return max(1, int(settings.progress_deadline))
    if given.isascii() and given.isdecimal() and 1 <= int(given) <= _LONGEST_DEADLINE:
        return int(given)
    path = child("metadata.annotations", names.PROGRESS_DEADLINE_ANNOTATION)
    raise Invalid(invalid(path, given, f"must be whole seconds from 1 to {_LONGEST_DEADLINE}"))


def _metadata(isvc: InferenceService, name: str, labels: dict[str, str]) -> Object:
    owner = {
        "apiVersion": names.INFERENCE_SERVICE_VERSION,
        "kind": names.INFERENCE_SERVICE_KIND,
        "name": isvc.name,
        "uid": isvc.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {"name": name, "namespace": isvc.namespace, "labels": labels, "ownerReferences": [owner]}
