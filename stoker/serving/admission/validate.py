"""The rules for objects before they are stored: all problems at once, each at its field.

Used by the webhook, `stoker validate` and `stoker run`. What rendering would refuse is asked of rendering
itself, so that what is allowed here can be rendered. docs/admission.md lists the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stoker.serving.admission import (
    given_flags,
    keys,
    naming,
    parallelism,
    pods,
    ratchet,
    runtime_rules,
    scaling,
    security,
    size,
    spelling,
    unchosen,
    warnings,
)
from stoker.serving.admission.choosing import Choice, choose
from stoker.serving.admission.places import told_once
from stoker.serving.admission.pod_shape import Mistyped
from stoker.serving.admission.sources import check_sources, source_warnings
from stoker.serving.admission.unreadable import Gone, without
from stoker.serving.api.objects import InferenceService, ServingRuntime, read_inference_service
from stoker.serving.api.reading import Object
from stoker.serving.problems import FieldProblem, child
from stoker.serving.rendering import checks
from stoker.serving.rendering.render import try_template
from stoker.serving.settings import Settings


@dataclass(frozen=True)
class Verdict:
    """Refused where there are problems; warnings are for people and refuse nothing."""

    problems: tuple[FieldProblem, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the object may be stored."""
        return not self.problems


@dataclass(frozen=True)
class _Around:
    """What an InferenceService is judged with, and the warnings found on the way."""

    runtimes: Sequence[ServingRuntime]
    settings: Settings
    args_schemas: Mapping[str, Object]
    largest_devices: Mapping[str, int] | None
    namespace_labels: Mapping[str, str]
    warned: list[str] = field(default_factory=list)


def validate_inference_service(
    obj: Object,
    old: Object | None,
    runtimes: Sequence[ServingRuntime],
    settings: Settings,
    *,
    args_schemas: Mapping[str, Object] = {},
    largest_devices: Mapping[str, int] | None = None,
    namespace_labels: Mapping[str, str] = {},
) -> Verdict:
    """Judge an InferenceService that is created (`old` None) or updated.

    `args_schemas`: JSON Schemas of flags by the name that runtimes carry in `stoker.dev/args-schema`.
    `largest_devices`: by extended resource the most that one node has; None where nodes are not known.
    `namespace_labels`: of the object's namespace; its `stoker.dev/security` says what is refused there.
    An update is refused only for what it makes worse, and never once the object is being deleted.
    """
    if _deleting(obj):
        return Verdict()
    given = (runtimes, settings, args_schemas, largest_devices, namespace_labels)

    def judge(each: Object) -> Verdict:
        return _too_large(each) or _judge(each, _Around(*given))

    return _ratcheted(judge, obj, old)


def validate_runtime(
    obj: Object,
    old: Object | None,
    *,
    settings: Settings = Settings(),  # noqa: B008  # frozen
    args_schemas: Mapping[str, Object] = {},
    namespace_labels: Mapping[str, str] = {},
    others: Sequence[ServingRuntime] = (),
) -> Verdict:
    """Judge a (Cluster)ServingRuntime. One that is in use may be changed: revisions keep their pods.

    `others`: the runtimes beside it, among which selection chooses.
    """
    if _deleting(obj):
        return Verdict()
    restricted = security.restricted(namespace_labels, settings)
    given = runtime_rules.Around(args_schemas, others, restricted=restricted)

    def judge(each: Object) -> Verdict:
        return _too_large(each) or Verdict(*runtime_rules.judge(each, given))

    return _ratcheted(judge, obj, old)


def _deleting(obj: Object) -> bool:
    metadata = obj.get("metadata")
    return isinstance(metadata, dict) and bool(metadata.get("deletionTimestamp"))


def _too_large(obj: Object) -> Verdict | None:
    problem = size.check(obj)
    return Verdict((problem,)) if problem else None


def _ratcheted(judge: Callable[[Object], Verdict], obj: Object, old: Object | None) -> Verdict:
    new = judge(obj)
    if old is None or not new.problems:
        return new
    if _too_large(obj) and obj.get("spec") != old.get("spec"):
        return new  # nobody judged what else it has become
    worse, kept = ratchet.split(new.problems, judge(old).problems)
    return Verdict(worse, (*new.warnings, *kept))


def _judge(obj: Object, around: _Around) -> Verdict:
    isvc, problems = read_inference_service(obj)
    gone = Gone()
    whole: InferenceService | None = isvc
    if problems:
        rest = without(obj, problems, read_inference_service)
        whole, gone = (read_inference_service(rest[0])[0], rest[1]) if rest else (None, gone)
        if whole is not None and whole.predictor.model is None and not whole.predictor.containers:
            whole = None
    for group in _as_written(obj, isvc, around):
        problems += told_once(group, problems)
    around.warned.extend(warnings.of_inference_service(isvc))
    around.warned.extend(warnings.of_secrets(isvc.predictor.raw, "spec.predictor"))
    if whole is isvc:
        around.warned.extend(source_warnings(isvc))
    choice = choose(isvc if whole is None else whole, around.runtimes)
    if choice.problem is not None:
        if around.settings.missing_runtime == "warn":
            around.warned.append(str(choice.problem))
        else:
            problems.append(choice.problem)
    if whole is not isvc or choice.isvc is None:
        problems += told_once(_in_parts(isvc), problems)
    if whole is not None:
        problems += told_once(_of_pod(whole, choice, around, gone), problems)
    if problems:
        problems += told_once(_beside_mistyped(obj, around), problems)
    return Verdict(tuple(dict.fromkeys(problems)), tuple(dict.fromkeys(around.warned)))


def _of_pod(whole: InferenceService, choice: Choice, around: _Around, gone: Gone) -> Iterator[FieldProblem]:
    if choice.isvc is None:
        found = unchosen.check(whole, around.runtimes, around.settings, around.args_schemas)
    else:
        found = _as_rendered(choice.isvc, choice.runtime, around, gone)
    return (each for each in found if not gone.explains(each))


def _beside_mistyped(obj: Object, around: _Around) -> Iterator[FieldProblem]:
    """What a value of a wrong type in the pod keeps from being judged: the rules of what it stands in."""
    unreadable = _read_with_types(obj)[1]
    if not any(isinstance(each, Mistyped) for each in unreadable):
        return
    rest = without(obj, unreadable, _read_with_types)
    if rest is None:
        return
    (whole, lacking), gone = read_inference_service(rest[0]), rest[1]
    if any("[" in each.field for each in lacking):
        return  # entries without a key cannot be merged
    if whole.predictor.model is not None or whole.predictor.containers:
        yield from _of_pod(whole, choose(whole, around.runtimes), around, gone)


def _read_with_types(obj: Object) -> tuple[InferenceService, list[FieldProblem]]:
    isvc, problems = read_inference_service(obj)
    return isvc, [*problems, *(each for each in pods.as_written(isvc) if isinstance(each, Mistyped))]


def _as_written(obj: Object, isvc: InferenceService, around: _Around) -> Iterator[list[FieldProblem]]:
    """Problems that need nothing but the object: by groups, of which a later one keeps to other fields."""
    metadata = obj.get("metadata") if isinstance(obj, dict) else None
    problems, warned = keys.of_inference_service(metadata if isinstance(metadata, dict) else {})
    around.warned.extend(warned)
    yield problems
    yield list(spelling.of_inference_service(obj if isinstance(obj, dict) else {}))
    yield [*naming.check_name(isvc, around.settings), *naming.check_labels(isvc)]
    yield list(scaling.check(isvc))
    yield list(pods.metadata(isvc.predictor.raw, "spec.predictor"))
    yield list(keys.of_pods(isvc.predictor.raw.get("annotations"), "spec.predictor.annotations"))
    if security.restricted(around.namespace_labels, around.settings):
        yield list(security.of_predictor(isvc.predictor.raw))


def _in_parts(isvc: InferenceService) -> list[FieldProblem]:
    """What can be said of the pod without a runtime or where parts of it cannot be read."""
    return [*checks.unsupported(isvc), *pods.as_written(isvc)]


def _as_rendered(
    isvc: InferenceService, runtime: ServingRuntime | None, around: _Around, gone: Gone
) -> list[FieldProblem]:
    """Problems of the merged pod and of the flags in it; `gone`: what was taken out for it."""
    rendered, problems = try_template(isvc, runtime, around.settings)
    arguments = given_flags.merged_with(isvc, runtime)
    schema = given_flags.schema_of(isvc, runtime, around.args_schemas, around.warned)
    flags = given_flags.check(isvc, runtime, arguments, schema)
    problems += flags
    # The model may stand in a flag that is mistyped: then nobody knows that there is none.
    problems += [
        each
        for each in check_sources(isvc, runtime, arguments, around.settings)
        if not (flags and each.reason == "FieldValueRequired")
    ]
    if rendered is None:
        return [*problems, *told_once(pods.as_written(isvc), problems)]
    spec, variants = rendered[0]["spec"], around.settings.image_variants
    problems += told_once(pods.as_merged(isvc, runtime, spec), problems)
    if isvc.predictor.model is None or not gone.below(child(isvc.predictor.model.path, "resources")):
        problems += told_once(parallelism.check(isvc, spec["containers"][0], schema, variants), problems)
    around.warned.extend(warnings.of_pod(isvc, runtime, spec, around.settings))
    around.warned.extend(parallelism.warn(isvc, spec, schema, around.largest_devices, variants))
    return problems
