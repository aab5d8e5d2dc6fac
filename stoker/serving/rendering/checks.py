"""What rendering refuses: fields that Stoker does not act on, and pods that could not run.

The webhook asks the same before an object is stored; here it holds even where the webhook was not asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from stoker.serving import names, quantities
from stoker.serving.api import fields, metadata
from stoker.serving.api.objects import InferenceService, Predictor
from stoker.serving.api.reading import Object
from stoker.serving.problems import FieldProblem, child, duplicate, invalid, required, shown
from stoker.serving.rendering.merge import is_extended


def judged(isvc: InferenceService) -> Iterator[tuple[str, fields.Field]]:
    """Path and row of all that is set and refused or warned about: fields, labels, annotations."""
    yield from metadata.judged(isvc.labels, isvc.annotations)
    yield from fields.judged(isvc.raw)


def unsupported(isvc: InferenceService) -> Iterator[FieldProblem]:
    """Fields that are set and that Stoker cannot honour: serving without them would be something else."""
    for path, row in judged(isvc):
        if row.fate == "refused":
            yield FieldProblem(path, "FieldValueNotSupported", f"Unsupported field: {row.note}")
    yield from misplaced(isvc.predictor)


def misplaced(predictor: Predictor) -> Iterator[FieldProblem]:
    """Containers that KServe would put in front of the model, and that would get no request here."""
    for number, container in enumerate(predictor.containers):
        if container.get("name") == names.TRANSFORMER_CONTAINER:
            detail = f"requests go to {names.MODEL_CONTAINER}, and to no container in front of it"
            yield invalid(child("spec.predictor.containers", number, "name"), container["name"], detail)


def check_pod(spec: Object, predictor: Predictor) -> Iterator[FieldProblem]:
    """What the API server would refuse in the merged pod, at the user's field that cures it."""
    seen: set[str] = set()
    for kind in ("containers", "initContainers"):
        written = predictor.raw.get(kind)
        own: dict[str, list[int]] = {}
        for number, each in enumerate(written if isinstance(written, list) else []):
            if isinstance(each, dict):
                own.setdefault(str(each.get("name")), []).append(number)
        for number, container in enumerate(spec.get(kind) or []):
            path = _path_of(container, kind, number, predictor, own)
            name = str(container.get("name"))
            if name in seen:
                yield duplicate(child(path, "name"), name)
            seen.add(name)
            if len(own.get(name, ())) > 1:
                own[name].pop(0)  # the next of this name is the user's next one
            if not container.get("image"):
                yield required(child(path, "image"), "neither the predictor nor a runtime names an image")
            yield from check_resources(container, child(path, "resources"))


def _path_of(
    container: Object, kind: str, number: int, predictor: Predictor, own: Mapping[str, list[int]]
) -> str:
    """`own`: by name where the user wrote it."""
    if kind == "containers" and number == 0 and predictor.model is not None:
        return predictor.model.path
    name = str(container.get("name"))
    if name in own:
        return child("spec.predictor", kind, own[name][0])
    return child("spec.predictor", kind, 0) if predictor.model is None else predictor.model.path


def check_resources(container: Object, path: str) -> Iterator[FieldProblem]:
    """Quantities that are none, requests over limits, parts of devices; `path` is that of the resources."""
    resources = container.get("resources") or {}
    parsed: dict[tuple[str, str], Decimal] = {}
    for part in ("requests", "limits"):
        for name, value in (resources.get(part) or {}).items():
            try:
                number = quantities.parse(value)
            except ValueError as error:
                yield invalid(child(path, part, name), value, str(error))
                continue
            if number < 0:
                yield invalid(child(path, part, name), value, "must not be negative")
            elif is_extended(name) and number != number.to_integral_value():
                yield invalid(child(path, part, name), value, "must be a whole number of devices")
            else:
                parsed[part, name] = number
    yield from _compare(resources, parsed, path)


def _compare(resources: Object, parsed: dict[tuple[str, str], Decimal], path: str) -> Iterator[FieldProblem]:
    for (part, name), asked in parsed.items():
        if part != "requests":
            continue
        value: Any = resources["requests"][name]
        allowed = parsed.get(("limits", name))
        if allowed is None:
            if is_extended(name) and name not in (resources.get("limits") or {}):
                yield required(
                    child(path, "limits", name), f"devices need a limit, equal to the request {shown(value)}"
                )
        elif asked > allowed or (is_extended(name) and asked != allowed):
            limit = resources["limits"][name]
            how = "equal to the limit" if is_extended(name) else "at most the limit"
            yield invalid(child(path, "requests", name), value, f"must be {how}, which is {shown(limit)}")
