"""The pod-shaped parts of an InferenceService: as written, and as they stand in the merged pod."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from stoker.serving import names
from stoker.serving.admission import pod_rules, pod_schema, pod_shape, resource_rules, syntax
from stoker.serving.admission.owners import with_owners
from stoker.serving.admission.places import Place
from stoker.serving.api.objects import InferenceService, ServingRuntime
from stoker.serving.api.reading import Object
from stoker.serving.api.shapes import POD_FIELDS
from stoker.serving.problems import FieldProblem, child
from stoker.serving.rendering.placeholders import Values, replace


def as_written(isvc: InferenceService) -> Iterator[FieldProblem]:
    """Unknown fields, wrong types and words: of parts, since what else is needed may be the runtime's."""
    predictor = isvc.predictor.raw
    yield from pod_fields(predictor, "spec.predictor", None)
    if isvc.predictor.model is not None:
        model = isvc.predictor.model
        yield from pod_shape.check(
            model.container, pod_schema.definition("Container"), Place(model.path, model.container)
        )
    yield from metadata(predictor, "spec.predictor")


def before_merging(isvc: InferenceService) -> list[FieldProblem]:
    """What is wrong with the pod as far as the predictor writes it, and with what it lacks."""
    predictor = isvc.predictor
    top = Place("spec.predictor", predictor.raw)
    containers = list(predictor.containers)
    if predictor.model is not None:
        containers.insert(0, predictor.model.container | {"name": names.MODEL_CONTAINER})
    spec = {**predictor.pod_spec, "containers": containers}
    listed = [list(_placed(isvc, spec, kind, top)) for kind in ("containers", "initContainers")]
    return whole(spec, listed[0], listed[1], top, {})


def pod_fields(
    spec: Mapping[str, Any], path: str, rules: Mapping[str, pod_shape.Rule] | None
) -> Iterator[FieldProblem]:
    """The fields of a PodSpec in an object that has others beside them."""
    known = pod_schema.definition("PodSpec").fields or {}
    for name in (*sorted(POD_FIELDS), "containers"):
        value = spec.get(name)
        if value is not None and name in known:
            yield from pod_shape.check(value, known[name], Place(child(path, name), value), rules)


def metadata(spec: Mapping[str, Any], path: str) -> Iterator[FieldProblem]:
    """Labels and annotations for pods."""
    for name in ("labels", "annotations"):
        given = spec.get(name)
        for key, value in (given if isinstance(given, dict) else {}).items():
            where = child(path, name, str(key))
            yield from syntax.qualified_name(str(key), where)
            if name == "labels" and isinstance(value, str):
                yield from syntax.label_value(value, where)


def as_merged(isvc: InferenceService, runtime: ServingRuntime | None, spec: Object) -> list[FieldProblem]:
    """What Kubernetes would refuse in the rendered pod, or run in vain, at the user's fields."""
    top = Place("spec.predictor", isvc.predictor.raw)
    sound = _sound(runtime) if runtime is not None else {}
    listed = [list(_placed(isvc, spec, kind, top)) for kind in ("containers", "initContainers")]
    found = whole(spec, listed[0], listed[1], top, sound)
    found += _filled_labels(isvc, runtime)
    return with_owners(found, isvc, runtime) if found else found


def _filled_labels(isvc: InferenceService, runtime: ServingRuntime | None) -> Iterator[FieldProblem]:
    """What placeholders make of labels: only words may stand there, and anything in an annotation."""
    below = runtime.pod_labels if runtime is not None else {}
    for key, value in {**below, **isvc.predictor.labels}.items():
        if "{{" not in value:
            continue
        missing: list[FieldProblem] = []
        values = Values(isvc.name, isvc.namespace, isvc.labels, isvc.annotations)
        filled, used = replace(value, values, "", missing)
        if used and not missing:
            yield from syntax.label_value(filled, child("spec.predictor.labels", key), filled=True)


@functools.lru_cache(maxsize=1024)
def _sound(runtime: ServingRuntime) -> pod_shape.Sound:
    """What is right about a runtime, and stands in the pods made from it as it is."""
    pod, container = pod_schema.definition("PodSpec"), pod_schema.definition("Container")
    found = dict(pod_shape.sound_parts(runtime.pod_spec, pod, pod_rules.RULES))
    for each in runtime.containers:
        found.update(pod_shape.sound_parts(each, container, pod_rules.RULES))
    return found


def whole(
    spec: Object,
    containers: list[tuple[Object, Place]],
    starting: list[tuple[Object, Place]],
    top: Place,
    sound: pod_shape.Sound,
) -> list[FieldProblem]:
    """Problems of a complete PodSpec; `containers`, `starting`: its containers and its init containers, each
    with its place.
    """
    rest = {name: value for name, value in spec.items() if name not in ("containers", "initContainers")}
    pod, container = pod_schema.definition("PodSpec"), pod_schema.definition("Container")
    found = pod_shape.check(rest | {"containers": []}, pod, top, pod_rules.RULES, sound)
    placed = [*containers, *starting]
    for each, place in placed:
        found += pod_shape.check(each, container, place, pod_rules.RULES, sound)
    if any(isinstance(problem, pod_shape.Mistyped) for problem in found):
        return found
    found += pod_rules.sleeps(spec, top)
    found += resource_rules.within_pod(spec, top)
    found += pod_rules.only_sidecars(starting)
    found += pod_rules.volumes_that_exist(placed, spec.get("volumes") or [], spec.get("resourceClaims") or [])
    return found


def _placed(isvc: InferenceService, spec: Object, kind: str, top: Place) -> Iterator[tuple[Object, Place]]:
    """Containers of one kind, each with where the user wrote it."""
    model, listed = isvc.predictor.model, top.field(kind)
    for number, container in enumerate(spec.get(kind) or []):
        if kind == "containers" and number == 0 and model is not None:
            yield container, Place(model.path, model.container)
        elif kind == "containers" and model is None and len(spec[kind]) == 1:
            yield container, listed.entry(0, container)  # the only one may have had another name
        else:
            yield container, listed.entry(number, container, ("name",))
