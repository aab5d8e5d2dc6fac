"""Objects and reviews like those of a busy cluster: creates, updates and mistakes, of all three kinds."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

_MANIFESTS = Path(__file__).parents[1] / "manifests"
_RUNTIME: Object = yaml.safe_load((_MANIFESTS / "runtimes" / "kserve-huggingfaceserver.yaml").read_text())
_SAMPLE: Object = yaml.safe_load((_MANIFESTS / "samples" / "smollm2.yaml").read_text())
_RESOURCES = {
    "InferenceService": ("v1beta1", "inferenceservices"),
    "ServingRuntime": ("v1alpha1", "servingruntimes"),
    "ClusterServingRuntime": ("v1alpha1", "clusterservingruntimes"),
}


def cluster_runtime() -> Object:
    return copy.deepcopy(_RUNTIME)


def runtime(name: str, namespace: str) -> Object:
    """One that supports the same format with less priority, so that every selection ranks it too."""
    made = cluster_runtime()
    made["metadata"] |= {"name": name} | ({"namespace": namespace} if namespace else {})
    made["kind"] = "ServingRuntime" if namespace else "ClusterServingRuntime"
    made["spec"]["supportedModelFormats"][0]["autoSelect"] = name.endswith(("0", "5"))
    return made


def inference_service(name: str, namespace: str) -> Object:
    made = copy.deepcopy(_SAMPLE)
    made["metadata"] |= {"name": name, "namespace": namespace}
    return made


def reviews(teams: int) -> list[Object]:
    """Of ten: six creates, two updates, a mistake, and a change of a runtime."""
    made = []
    for number in range(100):
        namespace = f"team-{number % teams}"
        obj = inference_service(f"review-{number}", namespace)
        old: Object | None = None
        if number % 10 in (6, 7):
            old = copy.deepcopy(obj)
            obj["spec"]["predictor"]["minReplicas"] = 2
        elif number % 10 == 8:
            obj["spec"]["predictor"]["model"]["args"] += ["--modle_name=typo"]
            obj["spec"]["predictor"]["model"]["resources"]["requests"]["cpu"] = "40"
        elif number % 10 == 9:
            old = runtime(f"runtime-{number}", namespace)
            obj = copy.deepcopy(old)
            obj["spec"]["disabled"] = True
        made.append(_review(obj, old, f"u-{number}"))
    return made


def _review(obj: Object, old: Object | None, uid: str) -> Object:
    version, plural = _RESOURCES[obj["kind"]]
    request = {
        "uid": uid,
        "kind": {"group": "serving.kserve.io", "version": version, "kind": obj["kind"]},
        "resource": {"group": "serving.kserve.io", "version": version, "resource": plural},
        "name": obj["metadata"]["name"],
        "namespace": obj["metadata"]["namespace"],
        "operation": "UPDATE" if old else "CREATE",
        "userInfo": {"username": "someone"},
        "object": obj,
        "oldObject": old,
        "dryRun": False,
        "options": None,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
