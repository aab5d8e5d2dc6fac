"""What the gateway reads of an InferenceService and of a pod, and nothing else.

The transforms cut objects down before the caches keep them; the views are parsed from what is left. Both take
whatever the API server holds: an object with a field of the wrong shape loses that field, never the gateway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stoker.kube.resource import Object, Resource
from stoker.serving.names import (
    GROUP,
    INFERENCE_SERVICE_KIND,
    INFERENCE_SERVICE_LABEL,
    MODEL_CONTAINER,
    REVISION_LABEL,
)

INFERENCE_SERVICES = Resource(GROUP, "v1beta1", "inferenceservices", INFERENCE_SERVICE_KIND)

DEFAULT_PORT = 8080
HTTP_PORT_NAME = "http"
# A route's timeout is a protobuf Duration; Envoy refuses the whole table for one that does not fit.
LONGEST_TIMEOUT = 365 * 24 * 3600
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")


@dataclass(frozen=True)
class InferenceServiceView:
    """One InferenceService, as far as routing is concerned."""

    namespace: str
    name: str
    created: str  # RFC 3339, so it sorts by time
    timeout: int  # seconds for the whole answer; 0: none
    traffic: tuple[tuple[str, int], ...]  # (revision, percent), as the controller decided
    reason: str  # why it is not ready, one word; "" where it is or nothing is known


@dataclass(frozen=True, order=True)
class PodView:
    """One pod of one revision."""

    namespace: str
    inference_service: str
    revision: str
    address: str
    port: int
    takes_requests: bool  # Ready, and nobody asked for its end


def keep_inference_service(obj: Object) -> Object:
    """The fields of an InferenceService that a view is made from."""
    predictor = _mapping(_mapping(obj.get("spec")).get("predictor"))
    status = _mapping(obj.get("status"))
    components = _mapping(_mapping(status.get("components")).get("predictor"))
    return _keep(obj) | {
        "spec": {"predictor": {"timeout": predictor.get("timeout")}},
        "status": {
            "components": {"predictor": {"traffic": components.get("traffic")}},
            "conditions": [
                each for each in _mappings(status.get("conditions")) if each.get("type") == "Ready"
            ],
        },
    }


def keep_pod(obj: Object) -> Object:
    """The fields of a pod that a view is made from."""
    status = _mapping(obj.get("status"))
    containers = _mappings(_mapping(obj.get("spec")).get("containers"))
    return _keep(obj) | {
        "spec": {"containers": [{"name": c.get("name"), "ports": c.get("ports")} for c in containers]},
        "status": {
            "podIP": status.get("podIP"),
            "conditions": [
                each for each in _mappings(status.get("conditions")) if each.get("type") == "Ready"
            ],
        },
    }


def view_inference_service(obj: Object) -> InferenceServiceView | None:
    """The view; None for an InferenceService that is being deleted: its route ends first."""
    metadata = _mapping(obj.get("metadata"))
    if metadata.get("deletionTimestamp"):
        return None
    predictor = _mapping(_mapping(obj.get("spec")).get("predictor"))
    status = _mapping(obj.get("status"))
    component = _mapping(_mapping(status.get("components")).get("predictor"))
    traffic: dict[str, int] = {}
    for entry in _mappings(component.get("traffic")):
        revision, percent = _text(entry.get("revisionName")), _count(entry.get("percent"))
        if revision:
            traffic[revision] = traffic.get(revision, 0) + min(percent, 100)
    return InferenceServiceView(
        namespace=_text(metadata.get("namespace")),
        name=_text(metadata.get("name")),
        created=_text(metadata.get("creationTimestamp")),
        timeout=min(_count(predictor.get("timeout")), LONGEST_TIMEOUT),
        traffic=tuple(sorted(traffic.items())),
        reason=next((_word(c.get("reason")) for c in _ready(status) if c.get("status") != "True"), ""),
    )


def view_pod(obj: Object) -> PodView | None:
    """The view; None for a pod that belongs to no revision of an InferenceService."""
    metadata = _mapping(obj.get("metadata"))
    labels = _mapping(metadata.get("labels"))
    service, revision = _text(labels.get(INFERENCE_SERVICE_LABEL)), _text(labels.get(REVISION_LABEL))
    if not service or not revision:
        return None
    status = _mapping(obj.get("status"))
    address = _text(status.get("podIP"))
    ready = any(condition.get("status") == "True" for condition in _ready(status))
    return PodView(
        namespace=_text(metadata.get("namespace")),
        inference_service=service,
        revision=revision,
        address=address,
        port=_port(_mappings(_mapping(obj.get("spec")).get("containers"))),
        takes_requests=ready and bool(address) and not metadata.get("deletionTimestamp"),
    )


def _port(containers: list[Mapping[str, Any]]) -> int:
    """The model container's port called http, else anybody's, else the first one that is declared."""
    containers = sorted(containers, key=lambda container: container.get("name") != MODEL_CONTAINER)
    ports = [port for container in containers for port in _mappings(container.get("ports"))]
    numbers = [(port.get("name") != HTTP_PORT_NAME, _count(port.get("containerPort"))) for port in ports]
    found = sorted((pair for pair in numbers if 0 < pair[1] < 65536), key=lambda pair: pair[0])
    return found[0][1] if found else DEFAULT_PORT


def _keep(obj: Object) -> Object:
    metadata = _mapping(obj.get("metadata"))
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "labels")
    return {"metadata": {field: metadata[field] for field in kept if field in metadata}}


def _ready(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [each for each in _mappings(status.get("conditions")) if each.get("type") == "Ready"]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _word(value: Any) -> str:
    """A condition's reason. Clients read it, so a sentence that somebody put there stays inside."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
