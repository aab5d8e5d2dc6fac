"""The rules for runtimes before they are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stoker.serving import names
from stoker.serving.admission import keys, pods, security, spelling, warnings
from stoker.serving.admission.flags import check_flags
from stoker.serving.admission.places import Place, told_once
from stoker.serving.admission.unreadable import Gone, without
from stoker.serving.api.objects import ServingRuntime, read_runtime
from stoker.serving.api.reading import Object, objects
from stoker.serving.api.runtimes import PROTOCOLS
from stoker.serving.problems import FieldProblem, child, duplicate, invalid, nearest, not_supported, required
from stoker.serving.rendering import checks
from stoker.serving.rendering.arguments import flag_names
from stoker.serving.rendering.placeholders import suspects


@dataclass(frozen=True)
class Around:
    """What a runtime is judged with. `restricted`: whether its namespace is; never true for a cluster's."""

    args_schemas: Mapping[str, Object]
    others: Sequence[ServingRuntime]
    restricted: bool


def judge(obj: Object, around: Around) -> tuple[tuple[FieldProblem, ...], tuple[str, ...]]:
    """Problems and warnings of a runtime that is to be stored."""
    runtime, problems = read_runtime(obj)
    spec = _object(obj, "spec")
    rest = without(obj, problems, read_runtime) if problems else (obj, Gone())
    of_keys, warned = keys.of_runtime(_object(obj, "metadata"))
    problems += of_keys
    for found in (
        spelling.of_runtime(obj),
        pods.pod_fields(spec, "spec", None),
        pods.metadata(spec, "spec"),
        _formats(runtime),
        _serving_container(runtime) if not runtime.multi_model else iter(()),
        _names(runtime),
        _whole(rest) if rest is not None else iter(()),
        _flags(runtime, around, warned),
        security.of_pod(spec, "spec") if around.restricted and runtime.scope != "cluster" else iter(()),
    ):
        problems += told_once(found, problems)
    warned += _odd(runtime)
    warned += warnings.of_secrets(spec, "spec")
    warned += _equals(runtime, around.others)
    return tuple(dict.fromkeys(problems)), tuple(warned)


def _object(obj: Object, name: str) -> Object:
    value = obj.get(name)
    return value if isinstance(value, dict) else {}


def _serving_container(runtime: ServingRuntime) -> Iterator[FieldProblem]:
    found = [n for n, each in enumerate(runtime.containers) if each.get("name") == names.MODEL_CONTAINER]
    if not found:
        called = [each["name"] for each in runtime.containers if isinstance(each.get("name"), str)]
        meant = nearest(names.MODEL_CONTAINER, called)
        hint = f'; is "{meant}" meant?' if meant else ""
        detail = f"a container called {names.MODEL_CONTAINER}: it serves the model{hint}"
        yield required("spec.containers", detail)


def _formats(runtime: ServingRuntime) -> Iterator[FieldProblem]:
    # Selection reads the first entry of a format: others that differ would be ignored.
    first: dict[str, int | None] = {}
    seen: set[tuple[str, str | None]] = set()
    for number, each in enumerate(runtime.formats):
        path = child("spec.supportedModelFormats", number)
        priority = first.setdefault(each.name, each.priority)
        if each.priority != priority:
            detail = f"must be {priority}, as in the first entry of format {each.name}"
            yield invalid(child(path, "priority"), each.priority, detail)
        if (each.name, each.version) in seen:
            yield duplicate(path, str(each.name), "each format and version once")
        seen.add((each.name, each.version))
    spoken: set[str] = set()
    for number, protocol in enumerate(runtime.protocol_versions):
        path = child("spec.protocolVersions", number)
        if protocol not in PROTOCOLS:
            yield not_supported(path, protocol, PROTOCOLS)
        elif protocol in spoken:
            yield duplicate(path, protocol)
        spoken.add(protocol)


def _names(runtime: ServingRuntime) -> Iterator[FieldProblem]:
    seen: set[str] = set()
    for number, container in enumerate(runtime.containers):
        name = str(container.get("name"))
        if name in seen:
            yield duplicate(child("spec.containers", number, "name"), name)
        seen.add(name)
    for number, starting in objects(runtime.pod_spec.get("initContainers")):
        name = str(starting.get("name"))
        if name in seen:
            yield duplicate(child("spec.initContainers", number, "name"), name, "a container is called so")


def _whole(rest: tuple[Object, Gone]) -> Iterator[FieldProblem]:
    """Of complete pods: of the runtime, or of what can be read of it."""
    obj, gone = rest
    runtime = read_runtime(obj)[0]
    for number, container in enumerate(runtime.containers):
        found = checks.check_resources(container, child("spec.containers", number, "resources"))
        yield from (each for each in found if not gone.explains(each))
    yield from (each for each in _pod(runtime, _object(obj, "spec")) if not gone.explains(each))


def _pod(runtime: ServingRuntime, spec: Object) -> Iterator[FieldProblem]:
    """What Kubernetes would refuse in every pod made from this."""
    top = Place("spec", spec)
    containers, starting = (
        [(each, top.field(kind).entry(number, each)) for number, each in enumerate(spec.get(kind) or [])]
        for kind in ("containers", "initContainers")
    )
    pod = runtime.pod_spec | {"containers": list(runtime.containers)}
    yield from pods.whole(pod, containers, starting, top, {})


def _flags(runtime: ServingRuntime, around: Around, warned: list[str]) -> Iterator[FieldProblem]:
    name = runtime.annotations.get(names.ARGS_SCHEMA_ANNOTATION)
    if name is None or not around.args_schemas:
        return
    path = child("metadata.annotations", names.ARGS_SCHEMA_ANNOTATION)
    schema = around.args_schemas.get(name)
    if schema is None:
        known = ", ".join(sorted(around.args_schemas))
        meant = nearest(name, around.args_schemas)
        hint = f'; did you mean "{meant}"?' if meant else ""
        warned.append(f'{path}: there is no schema "{name}", so flags go unchecked; there is {known}{hint}')
        return
    repeatable = flag_names(runtime.annotations.get(names.REPEATABLE_FLAGS_ANNOTATION, ""))
    for number, container in enumerate(runtime.containers):
        args = container.get("args")
        if container.get("name") != names.MODEL_CONTAINER or not isinstance(args, list):
            continue
        if all(isinstance(each, str) for each in args):
            where = child("spec.containers", number, "args")
            yield from check_flags(args, args, where, schema, repeatable)


def _odd(runtime: ServingRuntime) -> Iterator[str]:
    for path, text in suspects(list(runtime.containers), "spec.containers"):
        yield f"{path}: {text} is no placeholder and stays as it is"


def _equals(runtime: ServingRuntime, others: Sequence[ServingRuntime]) -> Iterator[str]:
    """Runtimes between which only their age decides."""
    if runtime.disabled:
        return
    for number, each in enumerate(runtime.formats):
        if not each.auto_select or each.priority is None:
            continue
        same = sorted(other.name for other in others if _competes(other, runtime, each.name, each.priority))
        if same:
            path = child("spec.supportedModelFormats", number, "priority")
            also = f"{', '.join(same)} has priority {each.priority} for {each.name} too"
            yield f"{path}: {also}; the newest is taken"


def _competes(other: ServingRuntime, runtime: ServingRuntime, name: str, priority: int) -> bool:
    if other.disabled or (other.scope, other.namespace) != (runtime.scope, runtime.namespace):
        return False
    if other.name == runtime.name:
        return False
    return any(each.name == name and each.auto_select and each.priority == priority for each in other.formats)
