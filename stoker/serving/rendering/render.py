"""An InferenceService and its runtime become a pod template: merge, placeholders, image, defaults, checks."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from stoker.serving import names
from stoker.serving.api.objects import InferenceService, Model, Predictor, ServingRuntime
from stoker.serving.api.reading import Object
from stoker.serving.problems import FieldProblem, Invalid, child, invalid, required
from stoker.serving.rendering import checks, images, pod_defaults
from stoker.serving.rendering.arguments import flag_names
from stoker.serving.rendering.inputs import inputs_of
from stoker.serving.rendering.merge import merge_container, merge_containers, merge_pod
from stoker.serving.rendering.placeholders import Reference, Values, replace
from stoker.serving.rendering.storage import INITIALIZER, annotations_read, apply_storage
from stoker.serving.settings import Settings

__all__ = ["Rendered", "inputs_of", "render", "try_template"]


@dataclass(frozen=True)
class Rendered:
    """`template`: a PodTemplateSpec without revision label; `inputs`: what the revision's hash covers."""

    template: Object
    inputs: Object


def render(isvc: InferenceService, runtime: ServingRuntime | None, settings: Settings) -> Rendered:
    """The pod template. `runtime` is None where the predictor has containers of its own.

    Raises Invalid with every problem: unsupported fields, missing placeholder values, impossible resources.
    """
    made, problems = try_template(isvc, runtime, settings)
    if made is None or problems:
        raise Invalid(*problems)
    template, used = copy.deepcopy(made)  # the caller may change it; the runtime is shared by all
    labels = {each.key for each in used if each.of == "Labels"}
    annotations = {each.key for each in used if each.of == "Annotations"} | annotations_read(isvc)
    return Rendered(template, inputs_of(isvc, labels, annotations))


def try_template(
    isvc: InferenceService, runtime: ServingRuntime | None, settings: Settings
) -> tuple[tuple[Object, set[Reference]] | None, list[FieldProblem]]:
    """The template and the placeholders that were in it, even where it has problems: whoever judges it finds
    all others as well. None where there is nothing that could be merged.

    To be looked at and not to be changed: what the runtime brings is in it as it is, and no copy.
    """
    problems = list(checks.unsupported(isvc))
    template = merged_template(isvc, runtime, problems)
    if template is None:
        return None, problems
    values = Values(isvc.name, isvc.namespace, isvc.labels, isvc.annotations)
    template, used = replace(template, values, "", problems)
    spec = _finish(isvc, runtime, template["spec"], settings, problems)
    problems += checks.check_pod(spec, isvc.predictor)
    return (template | {"spec": spec}, used), problems


def merged_template(
    isvc: InferenceService, runtime: ServingRuntime | None, problems: list[FieldProblem]
) -> Object | None:
    """The PodTemplateSpec with placeholders in it and without defaults; None where nothing can be merged."""
    containers, pod_spec = _merged(isvc.predictor, runtime, problems)
    return _template(isvc, runtime, {**pod_spec, "containers": containers}) if containers else None


def _merged(
    predictor: Predictor, runtime: ServingRuntime | None, problems: list[FieldProblem]
) -> tuple[list[Object], Object]:
    """The pod's containers, the serving one first, and its other fields."""
    if predictor.model is None:
        return _own(predictor, problems), predictor.pod_spec
    if runtime is None:
        problems.append(required(child(predictor.model.path, "runtime"), "a runtime that serves this model"))
        return [], {}
    base = next((each for each in runtime.containers if each.get("name") == names.MODEL_CONTAINER), None)
    if base is None:
        detail = f"it has no container called {names.MODEL_CONTAINER}, but {_names(runtime.containers)}"
        problems.append(invalid(child(predictor.model.path, "runtime"), runtime.name, detail))
        return [], {}
    repeatable = flag_names(runtime.annotations.get(names.REPEATABLE_FLAGS_ANNOTATION, ""))
    serving = merge_container(base, predictor.model.container, repeatable) | {"name": names.MODEL_CONTAINER}
    if predictor.model.runtime_version and serving.get("image"):
        image = images.with_version(serving["image"], predictor.model.runtime_version)
        serving = serving | {"image": image}
    others = [each for each in runtime.containers if each is not base]
    sidecars = merge_containers(others, predictor.containers, repeatable)
    return [serving, *sidecars], merge_pod(runtime.pod_spec, predictor.pod_spec)


def _own(predictor: Predictor, problems: list[FieldProblem]) -> list[Object]:
    """Containers of the user's own: the one called kserve-container serves; the only one is called so."""
    given = [dict(each) for each in predictor.containers]
    if len(given) == 1:
        given[0]["name"] = names.MODEL_CONTAINER
    given.sort(key=lambda each: each.get("name") != names.MODEL_CONTAINER)
    if not given or given[0].get("name") != names.MODEL_CONTAINER:
        detail = (
            f"of several containers one must be called {names.MODEL_CONTAINER}: the one that answers requests"
        )
        problems.append(invalid("spec.predictor.containers", _names(predictor.containers), detail))
        return []
    return given


def _template(isvc: InferenceService, runtime: ServingRuntime | None, spec: Object) -> dict[str, Any]:
    """The PodTemplateSpec with placeholders still in it."""
    predictor = isvc.predictor
    below = (runtime.pod_labels, runtime.pod_annotations) if runtime else ({}, {})
    return {
        "metadata": {
            "labels": {**below[0], **predictor.labels, **names.labels(isvc.name)},
            "annotations": {
                "kubectl.kubernetes.io/default-container": names.MODEL_CONTAINER,
                **below[1],
                **predictor.annotations,
            },
        },
        "spec": spec,
    }


def _finish(
    isvc: InferenceService,
    runtime: ServingRuntime | None,
    spec: Object,
    settings: Settings,
    problems: list[FieldProblem],
) -> Object:
    """Image variants, the name in the environment, defaults: nothing here is searched for placeholders."""
    containers = [pod_defaults.with_name_variable(each, isvc.name) for each in spec["containers"]]
    model = isvc.predictor.model
    own: set[str] = set()
    if runtime is not None and model is not None:
        serving = containers[0]
        if is_own(runtime):
            serving = pod_defaults.with_drain(serving, settings)
        if serving.get("image") and not model.container.get("image"):
            own = {str(each.get("name")) for each in runtime.containers} if is_own(runtime) else set()
            problems += _unbuilt(runtime, model, serving, settings) if own else ()
            image = _build(runtime, model, serving, settings)
            serving = serving | {"image": image}
        containers[0] = serving
    spec = spec | {"containers": containers}
    found = images.accelerators(containers, settings.image_variants)
    wanted = {name: value for row in found for name, value in row.node_selector.items()}
    if wanted:
        spec["nodeSelector"] = wanted | (spec.get("nodeSelector") or {})
    spec = pod_defaults.with_spread(spec, names.selector(isvc.name))
    spec = apply_storage(spec, isvc, runtime, settings, problems)
    return pod_defaults.complete_pod(spec, settings, own | {INITIALIZER})


def is_own(runtime: ServingRuntime) -> bool:
    """Whether the runtime says that its image is Stoker's: its flags, its probes and its user are known."""
    return runtime.annotations.get(names.IMAGE_VARIANTS_ANNOTATION) == "true"


def _build(runtime: ServingRuntime, model: Model, serving: Object, settings: Settings) -> str:
    image: str = serving["image"]
    if model.runtime_version and not is_own(runtime):
        return image  # as KServe has it: a version that was asked for is the whole tag
    return images.with_build(image, serving, runtime, settings.image_variants)


def _unbuilt(
    runtime: ServingRuntime, model: Model, serving: Object, settings: Settings
) -> Iterator[FieldProblem]:
    for name in images.unbuilt([serving], settings.image_variants):
        path = child(model.path, "resources", "limits", name)
        detail = f"runtime {runtime.name} has no image for it; set image, or image_variants in the settings"
        yield FieldProblem(path, "FieldValueNotSupported", f"Unsupported device: {detail}")


def _names(containers: Iterable[Object]) -> str:
    return ", ".join(str(each.get("name")) for each in containers) or "none"
