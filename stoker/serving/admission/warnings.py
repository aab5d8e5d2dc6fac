"""What is allowed and yet may surprise: fields without effect, devices without image, secrets in the open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stoker.serving import names
from stoker.serving.api.objects import LEGACY_FORMATS, InferenceService, ServingRuntime
from stoker.serving.api.reading import Object, objects
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
    devices = [name for name in limits if is_extended(name)]
    if any(settings.image_variants.accelerator(name) for name in devices):
        return  # it chooses the image; the others are beside it: adapters of the network, shares of a device
    for name in devices:
        path = child(model.path, "resources", "limits", name)
        yield f"{path}: image_variants in the settings has no image for {name}; the one without is used"


def of_secrets(spec: Mapping[str, Any], path: str) -> Iterator[str]:
    """Credentials written out in the containers of a predictor or a runtime. Never its value."""
    for name in ("model", *LEGACY_FORMATS):
        if isinstance(spec.get(name), Mapping):
            yield from _written_out(spec[name], child(path, name))
    for kind in ("containers", "initContainers"):
        for number, container in objects(spec.get(kind)):
            yield from _written_out(container, child(path, kind, number))


_SECRETS = frozenset(
    """
    AWS_SESSION_TOKEN GITHUB_TOKEN HF_TOKEN HUGGINGFACE_HUB_TOKEN HUGGING_FACE_HUB_TOKEN NGC_API_KEY
    """.split()  # noqa: SIM905
)
# Not whatever ends in TOKEN: models have tokens too.
_SECRET_ENDINGS = (
    *("PASSWORD", "_SECRET", "_SECRET_KEY", "_SECRET_ACCESS_KEY", "_PRIVATE_KEY"),
    *("_API_KEY", "_ACCESS_TOKEN", "_API_TOKEN", "_AUTH_TOKEN"),
)


def _written_out(container: Mapping[str, Any], path: str) -> Iterator[str]:
    for number, variable in objects(container.get("env")):
        name, value = variable.get("name"), variable.get("value")
        if not (isinstance(name, str) and isinstance(value, str) and value) or "$(" in value or "{{" in value:
            continue
        if name in _SECRETS or name.endswith(_SECRET_ENDINGS):
            where = child(path, "env", number, "value")
            said = "all who may read this object can read it; keep it in a Secret"
            yield f"{where}: {name}: {said} and name that by valueFrom.secretKeyRef"
