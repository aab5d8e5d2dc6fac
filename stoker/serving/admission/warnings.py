"""What is allowed and yet may surprise: kept fields without effect, devices that no image is built for."""

from __future__ import annotations

from collections.abc import Iterator

from stoker.serving import names
from stoker.serving.api.objects import InferenceService, ServingRuntime
from stoker.serving.api.reading import Object
from stoker.serving.problems import child
from stoker.serving.rendering.checks import judged
from stoker.serving.rendering.merge import is_extended
from stoker.serving.settings import Settings


def of_inference_service(isvc: InferenceService) -> Iterator[str]:
    """Fields, labels and annotations that are kept and not acted on, or not as KServe would."""
    for path, row in judged(isvc):
        if row.fate == "warned":
            yield f"{path}: {row.note}"


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
