"""The objects that scenarios apply."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

# A namespaced runtime over the echo engine: real pods and the real server, no model to load.
ECHO_RUNTIME = """
apiVersion: serving.kserve.io/v1alpha1
kind: ServingRuntime
metadata:
  name: echo
  namespace: default
  annotations:
    stoker.dev/image-variants: "true"
spec:
  annotations: {prometheus.io/scrape: "true", prometheus.io/port: "8080"}
  supportedModelFormats:
    - {name: huggingface, version: "1", autoSelect: true, priority: 1}
  protocolVersions: [v2, v1]
  containers:
    - name: kserve-container
      image: stoker.dev/runtime:0.1.0
      args: ["--model_name={{.Name}}", "--backend=echo"]
      ports: [{name: http, containerPort: 8080}]
      startupProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 1, failureThreshold: 60}
      readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 1}
      livenessProbe: {httpGet: {path: /live, port: http}, periodSeconds: 5}
      resources:
        requests: {cpu: 50m, memory: 128Mi}
        limits: {cpu: "1", memory: 512Mi}
      volumeMounts: [{name: tmp, mountPath: /tmp}]
  volumes:
    - {name: tmp, emptyDir: {}}
"""


def inference_service(name: str, *args: str, **predictor: Any) -> Object:
    """An InferenceService of format huggingface with these arguments and predictor fields."""
    model: Object = {"modelFormat": {"name": "huggingface"}}
    if args:
        model["args"] = list(args)
    model |= predictor.pop("model", {})
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"predictor": {"model": model, **predictor}},
    }


def custom(name: str, **container: Any) -> Object:
    """An InferenceService whose predictor is a container of the user's own."""
    spec = {"containers": [{"name": "kserve-container", **container}]}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"predictor": spec},
    }
