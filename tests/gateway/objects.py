"""InferenceServices and pods as the API server returns them, as short as tests can use them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]


def inference_service(
    name: str,
    traffic: Mapping[str, int] | None = None,
    *,
    namespace: str = "default",
    created: str = "2026-01-01T00:00:00Z",
    reason: str = "",
    deleting: bool = False,
    **predictor: Any,
) -> Object:
    metadata = {"namespace": namespace, "name": name, "creationTimestamp": created}
    shares = [{"revisionName": revision, "percent": percent} for revision, percent in (traffic or {}).items()]
    ready = {"type": "Ready", "status": "False" if reason else "True", "reason": reason}
    return {
        "metadata": metadata | ({"deletionTimestamp": created} if deleting else {}),
        "spec": {"predictor": predictor},
        "status": {"components": {"predictor": {"traffic": shares}}, "conditions": [ready]},
    }


def pod(
    service: str,
    revision: str,
    address: str = "10.0.0.1",
    port: int = 8080,
    *,
    namespace: str = "default",
    ready: bool = True,
    terminating: bool = False,
) -> Object:
    labels = {
        "serving.kserve.io/inferenceservice": service,
        "component": "predictor",
        "stoker.dev/revision": revision,
    }
    name = f"{revision}-{address.replace('.', '-')}-{port}"
    metadata = {"namespace": namespace, "name": name, "labels": labels}
    return {
        "metadata": metadata | ({"deletionTimestamp": "2026-01-01T00:00:00Z"} if terminating else {}),
        "spec": {
            "containers": [{"name": "kserve-container", "ports": [{"containerPort": port, "name": "http"}]}]
        },
        "status": {
            "podIP": address,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }
