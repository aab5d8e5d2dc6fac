"""The rules for objects before they are stored: all problems at once, each at its field.

Used by the webhook and by `stoker run`. What rendering would refuse is asked of rendering itself, so that
what is allowed here can be rendered.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from stoker.serving import names
from stoker.serving.admission import runtime_rules, spelling, warnings
from stoker.serving.admission.flags import check_flags
from stoker.serving.api.objects import InferenceService, Model, ServingRuntime, read_inference_service
from stoker.serving.api.reading import Object
from stoker.serving.problems import (
    FieldProblem,
    Invalid,
    child,
    invalid,
    nearest,
    not_found,
    not_supported,
)
from stoker.serving.rendering import checks
from stoker.serving.rendering.render import Rendered, render
from stoker.serving.rendering.selection import NoRuntime, select_runtime
from stoker.serving.settings import Settings

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True)
class Verdict:
    """Refused where there are problems; warnings are for people and refuse nothing."""

    problems: tuple[FieldProblem, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the object may be stored."""
        return not self.problems


def validate_inference_service(
    obj: Object,
    old: Object | None,
    runtimes: Sequence[ServingRuntime],
    settings: Settings,
    *,
    args_schemas: Mapping[str, Object] = {},
) -> Verdict:
    """Judge an InferenceService that is created (`old` None) or updated.

    `args_schemas`: JSON Schemas of flags by the name that runtimes carry in `stoker.dev/args-schema`.
    An update is refused only for what it makes worse, and never once the object is being deleted.
    """
    verdict, deleting = _judge(obj, runtimes, settings, args_schemas)
    if deleting:
        return Verdict()
    if old is None or not verdict.problems:
        return verdict
    return _ratchet(verdict, _judge(old, runtimes, settings, args_schemas)[0])


def validate_runtime(obj: Object, old: Object | None) -> Verdict:
    """Judge a (Cluster)ServingRuntime. One that is in use may be changed: revisions keep their pods."""
    if isinstance(obj.get("metadata"), dict) and obj["metadata"].get("deletionTimestamp"):
        return Verdict()
    verdict = Verdict(*runtime_rules.judge(obj))
    if old is None or not verdict.problems:
        return verdict
    return _ratchet(verdict, Verdict(*runtime_rules.judge(old)))


def _judge(
    obj: Object, runtimes: Sequence[ServingRuntime], settings: Settings, args_schemas: Mapping[str, Object]
) -> tuple[Verdict, bool]:
    isvc, problems = read_inference_service(obj)
    readable = not problems
    problems += spelling.of_inference_service(obj if isinstance(obj, dict) else {})
    problems += _names(isvc, settings)
    problems += _labels(isvc)
    problems += _replicas(isvc)
    warned = list(warnings.of_inference_service(isvc))
    try:
        runtime = select_runtime(isvc, runtimes).runtime
    except NoRuntime as error:
        problem = _no_runtime(isvc, error, runtimes)
        if settings.missing_runtime == "warn" and problem is not None:
            warned.append(str(problem))
        elif problem is not None:
            problems.append(problem)
        meant = _as_meant(isvc, runtimes) if readable else None
        if meant is None:
            problems += checks.unsupported(isvc)
        else:
            # What else is wrong is told now too, not only once the format is mended.
            runtime = select_runtime(meant, runtimes).runtime
            problems += _rendered(meant, runtime, settings, args_schemas, warned)
    else:
        if readable:
            problems += _rendered(isvc, runtime, settings, args_schemas, warned)
        else:
            problems += checks.unsupported(isvc)
    return Verdict(tuple(dict.fromkeys(problems)), tuple(dict.fromkeys(warned))), isvc.deleting


def _as_meant(isvc: InferenceService, runtimes: Sequence[ServingRuntime]) -> InferenceService | None:
    """The InferenceService with the known model format nearest to its own, where that one has a runtime."""
    model = isvc.predictor.model
    if model is None or model.runtime is not None:
        return None
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


def _rendered(
    isvc: InferenceService,
    runtime: ServingRuntime | None,
    settings: Settings,
    args_schemas: Mapping[str, Object],
    warned: list[str],
) -> list[FieldProblem]:
    """Problems of the merged pod and of the flags in it."""
    try:
        rendered = render(isvc, runtime, settings)
    except Invalid as error:
        # The flags are judged all the same, so that they need no second try.
        return [*error.problems, *_flags(isvc, runtime, None, args_schemas, warned)]
    warned += warnings.of_pod(isvc, runtime, rendered.template["spec"], settings)
    return _flags(isvc, runtime, rendered, args_schemas, warned)


def _flags(
    isvc: InferenceService,
    runtime: ServingRuntime | None,
    rendered: Rendered | None,
    args_schemas: Mapping[str, Object],
    warned: list[str],
) -> list[FieldProblem]:
    model = isvc.predictor.model
    if runtime is None or model is None or model.container.get("image"):
        return []  # which flags another image accepts is not known
    name = runtime.annotations.get(names.ARGS_SCHEMA_ANNOTATION)
    if name is None:
        return []
    schema = args_schemas.get(name)
    if schema is None:
        if args_schemas:
            warned.append(f'{child(model.path, "args")}: not checked: there is no schema "{name}" of flags')
        return []
    own = model.container.get("args") or []
    merged = rendered.template["spec"]["containers"][0].get("args") or [] if rendered else own
    return list(check_flags(own, merged, child(model.path, "args"), schema))


def _names(isvc: InferenceService, settings: Settings) -> Iterator[FieldProblem]:
    if not isvc.name:
        return
    path = "metadata.name"
    if not _NAME.fullmatch(isvc.name):
        detail = (
            "must be lower case letters, digits and '-', begin with a letter and end with a letter or digit"
        )
        yield invalid(path, isvc.name, detail)
    if len(isvc.name) > names.MAX_NAME_LENGTH:
        detail = f"must be at most {names.MAX_NAME_LENGTH} characters: its revisions are NAME-predictor-00001"
        yield invalid(path, isvc.name, detail)
    host = names.host(isvc.name, isvc.namespace, settings)
    long = [label for label in host.split(".") if len(label) > names.MAX_LABEL_LENGTH]
    if long:
        detail = (
            f"makes the host {host}, of which {long[0]} has more than {names.MAX_LABEL_LENGTH} characters"
        )
        yield invalid(path, isvc.name, detail)
    if len(host) > names.MAX_HOST_LENGTH:
        yield invalid(
            path, isvc.name, f"makes the host {host}, longer than {names.MAX_HOST_LENGTH} characters"
        )


def _labels(isvc: InferenceService) -> Iterator[FieldProblem]:
    reserved = {*names.labels(""), names.REVISION_LABEL}
    for key in sorted(isvc.predictor.labels.keys() & reserved):
        yield invalid(
            child("spec.predictor.labels", key), isvc.predictor.labels[key], "is set by Stoker itself"
        )


def _replicas(isvc: InferenceService) -> Iterator[FieldProblem]:
    low, high = isvc.predictor.min_replicas, isvc.predictor.max_replicas
    if high and high < low:  # 0: not limited, as in KServe
        detail = f"must not be less than minReplicas, which is {low}"
        yield invalid("spec.predictor.maxReplicas", high, detail)


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
    return invalid(path, model.format.name, error.message)


def _ratchet(new: Verdict, old: Verdict) -> Verdict:
    """Without the problems that the object had before; those become warnings."""
    had = Counter(_place_free(problem) for problem in old.problems)
    worse, kept = [], []
    for problem in new.problems:
        key = _place_free(problem)
        if had[key] > 0:
            had[key] -= 1
            kept.append(f"not new, so allowed: {problem}")
        else:
            worse.append(problem)
    return Verdict(tuple(worse), (*new.warnings, *kept))


def _place_free(problem: FieldProblem) -> FieldProblem:
    return replace(problem, field=_INDEX.sub("[]", problem.field))
