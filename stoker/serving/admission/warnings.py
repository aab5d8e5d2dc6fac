"""What is allowed and yet may surprise: kept fields without effect, devices that no image is built for."""

from __future__ import annotations

from collections.abc import Iterator

from stoker.serving import names
from stoker.serving.api.objects import InferenceService, ServingRuntime
from stoker.serving.api.reading import Object
from stoker.serving.problems import child
from stoker.serving.rendering.merge import is_extended
from stoker.serving.settings import Settings

_SCALING = "has no effect yet: minReplicas is the number of pods"
_WITHOUT_EFFECT = {
    "logger": "has no effect: Stoker does not log requests and answers",
    "batcher": "has no effect: the runtime batches by itself",
    "containerConcurrency": "has no effect: the runtime bounds its own queue",
    "storageContainerName": "has no effect",
    "autoScaling": _SCALING,
    "scaleTarget": _SCALING,
    "scaleMetric": _SCALING,
    "scaleMetricType": _SCALING,
}


def of_inference_service(isvc: InferenceService) -> Iterator[str]:
    """Fields of the predictor that are kept and not acted on."""
    predictor = isvc.predictor
    for name, why in _WITHOUT_EFFECT.items():
        if predictor.raw.get(name):
            yield f"{child('spec.predictor', name)}: {why}"
    if predictor.max_replicas and predictor.max_replicas > predictor.min_replicas:
        yield f"spec.predictor.maxReplicas: {_SCALING}, {predictor.min_replicas} here"


def of_pod(
    isvc: InferenceService, runtime: ServingRuntime | None, spec: Object, settings: Settings
) -> Iterator[str]:
    """Devices for which the runtime's image has no build, so that it would run on the CPU beside them."""
    model = isvc.predictor.model
    if runtime is None or model is None or model.container.get("image"):
        return
    if runtime.annotations.get(names.IMAGE_VARIANTS_ANNOTATION) != "true":
        return
    limits = (spec["containers"][0].get("resources") or {}).get("limits") or {}
    for name in limits:
        if is_extended(name) and settings.image_variants.accelerator(name) is None:
            path = child(model.path, "resources", "limits", name)
            yield f"{path}: image_variants in the settings has no image for {name}; the one without is used"
