"""Fields that do not exist, with the nearest one that does.

The API server drops or refuses them by the CRD's schema; a file that is read without one needs this. What is
Kubernetes' own is judged by its schema: pod_shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stoker.serving.api.objects import EXTENSION_FIELDS, LEGACY_FORMATS, MODEL_FIELDS, PREDICTOR_FIELDS
from stoker.serving.api.reading import Object
from stoker.serving.api.shapes import CONTAINER_FIELDS, POD_FIELDS
from stoker.serving.problems import MOST_HINTS, FieldProblem, child, nearest

_SPEC = frozenset({"predictor", "transformer", "explainer", "canary"})
_PREDICTOR = PREDICTOR_FIELDS | EXTENSION_FIELDS | POD_FIELDS | {"containers"}
_RUNTIME = POD_FIELDS | frozenset(
    """
    annotations builtInAdapter containers disabled grpcDataEndpoint grpcEndpoint httpDataEndpoint labels
    multiModel protocolVersions replicas storageHelper supportedModelFormats workerSpec
    """.split()  # noqa: SIM905
)
_FORMAT = frozenset({"name", "version", "autoSelect", "priority"})
_MODEL = MODEL_FIELDS | CONTAINER_FIELDS
_LEGACY = _MODEL - {"modelFormat", "runtime"}


def of_inference_service(obj: Object) -> Iterator[FieldProblem]:
    """Unknown fields of an InferenceService beside those of containers and volumes."""
    spec = _mapping(obj.get("spec"))
    yield from _unknown(spec, "spec", _SPEC)
    predictor = _mapping(spec.get("predictor"))
    yield from _unknown(predictor, "spec.predictor", _PREDICTOR)
    model = _mapping(predictor.get("model"))
    yield from _unknown(model, "spec.predictor.model", _MODEL)
    form = _mapping(model.get("modelFormat"))
    yield from _unknown(form, "spec.predictor.model.modelFormat", frozenset({"name", "version"}))
    for name in LEGACY_FORMATS:
        if name in predictor:
            yield from _unknown(_mapping(predictor[name]), child("spec.predictor", name), _LEGACY)


def of_runtime(obj: Object) -> Iterator[FieldProblem]:
    """Unknown fields of a runtime beside those of containers and volumes."""
    spec = _mapping(obj.get("spec"))
    yield from _unknown(spec, "spec", _RUNTIME)
    yield from _in_list(spec, "spec", "supportedModelFormats", _FORMAT)


def _in_list(
    parent: Mapping[str, Any], path: str, name: str, known: frozenset[str]
) -> Iterator[FieldProblem]:
    items = parent.get(name)
    for number, item in enumerate(items if isinstance(items, list) else []):
        yield from _unknown(_mapping(item), child(path, name, number), known)


def _unknown(obj: Mapping[str, Any], path: str, known: frozenset[str]) -> Iterator[FieldProblem]:
    if obj.keys() <= known:
        return
    for number, name in enumerate(sorted(str(each) for each in obj if each not in known)):
        meant = nearest(name, known) if number < MOST_HINTS else None
        hint = f'; did you mean "{meant}"?' if meant else ""
        yield FieldProblem(child(path, name), "FieldValueNotSupported", f"Unknown field{hint}")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
