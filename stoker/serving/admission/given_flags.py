"""The flags that an InferenceService gives its runtime's program, and the schema of those that there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stoker.serving import names
from stoker.serving.admission.flags import check_flags
from stoker.serving.api.objects import InferenceService, ServingRuntime
from stoker.serving.api.reading import Object
from stoker.serving.problems import FieldProblem, child
from stoker.serving.rendering.arguments import flag_names, merge_args


def check(
    isvc: InferenceService, runtime: ServingRuntime | None, merged: Sequence[str], schema: Object
) -> list[FieldProblem]:
    """Problems of the user's flags; `merged`: the whole command line. None where the schema is not known."""
    model = isvc.predictor.model
    if runtime is None or model is None or not schema:
        return []
    own = model.container.get("args") or []
    return list(check_flags(own, merged, child(model.path, "args"), schema, _repeatable(runtime)))


def merged_with(isvc: InferenceService, runtime: ServingRuntime | None) -> list[str]:
    """The serving container's arguments before Stoker adds its own."""
    model = isvc.predictor.model
    if model is None or runtime is None:
        return []
    base = next((each for each in runtime.containers if each.get("name") == names.MODEL_CONTAINER), {})
    return merge_args(base.get("args") or [], model.container.get("args") or [], _repeatable(runtime))


def _repeatable(runtime: ServingRuntime) -> frozenset[str]:
    return flag_names(runtime.annotations.get(names.REPEATABLE_FLAGS_ANNOTATION, ""))


def schema_of(
    isvc: InferenceService,
    runtime: ServingRuntime | None,
    args_schemas: Mapping[str, Object],
    warned: list[str],
) -> Object:
    """The schema of the flags that the pod's image accepts; empty where nobody knows: `warned` says it."""
    model = isvc.predictor.model
    if runtime is None or model is None:
        return {}
    name = runtime.annotations.get(names.ARGS_SCHEMA_ANNOTATION)
    if name is None:
        return {}
    path = child(model.path, "args")
    own = next((each for each in ("image", "command") if model.container.get(each)), None)
    if own is not None:
        if model.container.get("args"):
            whose = "an image of your own" if own == "image" else "a command of your own"
            warned.append(f"{path}: not checked: which flags {whose} accepts is not known")
        return {}
    schema = args_schemas.get(name)
    if schema is None and args_schemas:
        warned.append(f'{path}: not checked: there is no schema "{name}" of flags')
    return schema or {}
