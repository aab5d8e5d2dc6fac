"""The shipped runtime, the shipped sample, and reviews about them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

_MANIFESTS = Path(__file__).parents[2] / "manifests"
RUNTIME_FILE = _MANIFESTS / "runtimes" / "kserve-huggingfaceserver.yaml"
ARGS_SCHEMAS = _MANIFESTS / "runtimes" / "args-schema"
_RUNTIME: Object = yaml.safe_load(RUNTIME_FILE.read_text())
_SAMPLE: Object = yaml.safe_load((_MANIFESTS / "samples" / "smollm2.yaml").read_text())
_GROUP = "serving.kserve.io"


def cluster_runtime() -> Object:
    return copy.deepcopy(_RUNTIME)


def namespaced_runtime(name: str, namespace: str = "default") -> Object:
    made = cluster_runtime()
    made["kind"] = "ServingRuntime"
    made["metadata"] |= {"name": name, "namespace": namespace}
    return made


def inference_service(name: str = "smollm2", namespace: str = "default") -> Object:
    made = copy.deepcopy(_SAMPLE)
    made["metadata"] |= {"name": name, "namespace": namespace}
    return made


def bad_inference_service(name: str = "bad", namespace: str = "default") -> Object:
    """Three mistakes that the CRD's schema cannot see."""
    made = inference_service(name, namespace)
    model = made["spec"]["predictor"]["model"]
    model["args"] += ["--modle_name=typo"]
    model["resources"]["requests"] |= {"cpu": "4", "memory": "8Gi"}
    return made


BAD_FIELDS = {
    "spec.predictor.model.args[2]",
    "spec.predictor.model.resources.requests.cpu",
    "spec.predictor.model.resources.requests.memory",
}

_RESOURCES = {
    "InferenceService": ("v1beta1", "inferenceservices"),
    "ServingRuntime": ("v1alpha1", "servingruntimes"),
    "ClusterServingRuntime": ("v1alpha1", "clusterservingruntimes"),
}


def review(obj: Object | None, old: Object | None = None, operation: str = "", uid: str = "u-1") -> Object:
    """The AdmissionReview that the API server sends for it."""
    some = obj or old or {}
    version, plural = _RESOURCES[some["kind"]]
    request = {
        "uid": uid,
        "kind": {"group": _GROUP, "version": version, "kind": some["kind"]},
        "resource": {"group": _GROUP, "version": version, "resource": plural},
        "name": some["metadata"]["name"],
        "namespace": some["metadata"].get("namespace", ""),
        "operation": operation or ("UPDATE" if old else "CREATE"),
        "userInfo": {"username": "someone"},
        "object": obj,
        "oldObject": old,
        "dryRun": False,
        "options": None,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
