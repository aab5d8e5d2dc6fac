"""Which runtime an InferenceService would get, and what is wrong where it gets none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from stoker.serving.api.objects import InferenceService, Model, ServingRuntime
from stoker.serving.problems import FieldProblem, child, invalid, nearest, not_found, not_supported
from stoker.serving.rendering.selection import NoRuntime, select_runtime


@dataclass(frozen=True)
class Choice:
    """`isvc`: as it is, or as it was probably meant, so that all else is judged too; None where nobody knows.

    `runtime` is None where the predictor needs none. `problem`: why there is none.
    """

    isvc: InferenceService | None
    runtime: ServingRuntime | None = None
    problem: FieldProblem | None = None


def choose(isvc: InferenceService, runtimes: Sequence[ServingRuntime]) -> Choice:
    """The runtime, of those that the namespace can use."""
    try:
        return Choice(isvc, select_runtime(isvc, runtimes).runtime)
    except NoRuntime as error:
        problem = _no_runtime(isvc, error, runtimes)
    meant = _as_meant(isvc, runtimes)
    if meant is None:
        return Choice(None, None, problem)
    return Choice(meant, select_runtime(meant, runtimes).runtime, problem)


def _as_meant(isvc: InferenceService, runtimes: Sequence[ServingRuntime]) -> InferenceService | None:
    """The InferenceService with the known runtime or model format nearest to its own, where that one fits."""
    model = isvc.predictor.model
    if model is None:
        return None
    if model.runtime is not None:
        usable = {
            each.name for each in runtimes if each.scope == "cluster" or each.namespace == isvc.namespace
        }
        meant = replace(model, runtime=nearest(model.runtime, usable))
        if meant.runtime is None:
            return None
    else:
        known = {each.name for runtime in runtimes for each in runtime.formats}
        name = nearest(model.format.name, known)
        if name is None or name == model.format.name:
            return None
        meant = replace(model, format=replace(model.format, name=name))
    meant_isvc = replace(isvc, predictor=replace(isvc.predictor, model=meant))
    try:
        select_runtime(meant_isvc, runtimes)
    except NoRuntime:
        return None
    return meant_isvc


def _no_runtime(
    isvc: InferenceService, error: NoRuntime, runtimes: Iterable[ServingRuntime]
) -> FieldProblem | None:
    model = isvc.predictor.model
    if model is None or not (model.format.name or model.runtime):
        return None  # reported as missing already
    usable = [each for each in runtimes if each.scope == "cluster" or each.namespace == isvc.namespace]
    if error.reason == "RuntimeNotRecognized":
        kinds = "no ServingRuntime or ClusterServingRuntime has this name"
        return not_found(child(model.path, "runtime"), model.runtime, [each.name for each in usable], kinds)
    if model.runtime is not None:
        return invalid(child(model.path, "runtime"), model.runtime, error.message)
    return _no_automatic(model, error, usable)


def _no_automatic(model: Model, error: NoRuntime, usable: Sequence[ServingRuntime]) -> FieldProblem:
    known = sorted({each.name for runtime in usable for each in runtime.formats})
    legacy = not model.path.endswith(".model")
    path = model.path if legacy else child(model.path, "modelFormat", "name")
    if model.format.name not in known and known:
        return not_supported(path, model.format.name, known, "no runtime supports this format")
    if not legacy and model.format.version is not None:
        versions = {
            each.version
            for runtime in usable
            for each in runtime.formats
            if each.name == model.format.name and each.version is not None
        }
        if model.format.version not in versions:
            path = child(model.path, "modelFormat", "version")
            return not_supported(path, model.format.version, versions, error.message)
    return invalid(path, model.format.name, error.message)
