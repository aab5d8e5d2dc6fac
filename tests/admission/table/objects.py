"""Short ways to write the objects of the table."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
MODEL_ID = "--model_id=org/model"


def isvc(
    name: str = "table",
    *,
    model: Object | None = None,
    labels: Object | None = None,
    annotations: Object | None = None,
    spec: Object | None = None,
    **predictor: Any,
) -> Object:
    """An InferenceService of the shipped runtime. `model`: over a model that is right; None takes away."""
    metadata: Object = {"name": name, "namespace": "admission-table"}
    metadata |= {"labels": labels} if labels else {}
    metadata |= {"annotations": annotations} if annotations else {}
    whole = {"modelFormat": {"name": "huggingface"}, "args": [MODEL_ID]} | (model or {})
    whole = {key: value for key, value in whole.items() if value is not None}
    wanted = {"model": whole} | predictor
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": {key: value for key, value in wanted.items() if value is not None}}
        | (spec or {}),
    }


def model(**fields: Any) -> Object:
    """An InferenceService whose model has these fields."""
    return isvc(model=fields)


def args(*words: Any) -> Object:
    """An InferenceService whose model has these arguments beside the model's name."""
    return model(args=[MODEL_ID, *words])


def own(*further: Object, **fields: Any) -> Object:
    """An InferenceService with a container of the user's own, and further ones."""
    serving = {"name": "kserve-container", "image": "registry.example.com/mine:1"} | fields
    return isvc(model=None, containers=[serving, *further]) | {
        "spec": {"predictor": {"containers": [serving, *further]}}
    }


def gpus(count: Any, *words: str, **resources: Any) -> Object:
    """An InferenceService that asks for GPUs."""
    return model(args=[MODEL_ID, *words], resources={"limits": {"nvidia.com/gpu": count}} | resources)


def runtime(
    *,
    annotations: Object | None = None,
    labels: Object | None = None,
    container: Object | None = None,
    **spec: Any,
) -> Object:
    """A ServingRuntime. `container`: fields over its serving one."""
    serving = {"name": "kserve-container", "image": "registry.example.com/server:1"} | (container or {})
    metadata: Object = {"name": "table", "namespace": "admission-table"}
    metadata |= {"annotations": annotations} if annotations else {}
    metadata |= {"labels": labels} if labels else {}
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": metadata,
        "spec": {"containers": [serving], "supportedModelFormats": [{"name": "mine", "autoSelect": True}]}
        | spec,
    }
