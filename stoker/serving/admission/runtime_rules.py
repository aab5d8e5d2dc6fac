"""The rules for runtimes before they are stored."""

from __future__ import annotations

from collections.abc import Iterator

from stoker.serving import names
from stoker.serving.admission import spelling
from stoker.serving.api.objects import ServingRuntime, read_runtime
from stoker.serving.api.reading import Object
from stoker.serving.problems import FieldProblem, child, duplicate, invalid, required
from stoker.serving.rendering import checks
from stoker.serving.rendering.placeholders import suspects


def judge(obj: Object) -> tuple[tuple[FieldProblem, ...], tuple[str, ...]]:
    """Problems and warnings of a runtime that is to be stored."""
    runtime, problems = read_runtime(obj)
    readable = not problems
    problems += spelling.of_runtime(obj)
    if not runtime.multi_model:
        problems += _serving_container(runtime)
    problems += _priorities(runtime)
    found = [each.get("name") for each in runtime.containers]
    for number, name in enumerate(found):
        path = child("spec.containers", number)
        if name in found[:number]:
            problems.append(duplicate(child(path, "name"), name))
        if readable:
            problems += checks.check_resources(runtime.containers[number], child(path, "resources"))
    odd = (
        f"{path}: {text} is no placeholder and stays as it is"
        for path, text in suspects(list(runtime.containers), "spec.containers")
    )
    return tuple(dict.fromkeys(problems)), tuple(odd)


def _serving_container(runtime: ServingRuntime) -> Iterator[FieldProblem]:
    found = [n for n, each in enumerate(runtime.containers) if each.get("name") == names.MODEL_CONTAINER]
    if not found:
        yield required("spec.containers", f"a container called {names.MODEL_CONTAINER}: it serves the model")


def _priorities(runtime: ServingRuntime) -> Iterator[FieldProblem]:
    # Selection reads the first entry of a format: others that differ would be ignored.
    first: dict[str, int | None] = {}
    for number, each in enumerate(runtime.formats):
        priority = first.setdefault(each.name, each.priority)
        if each.priority != priority:
            detail = f"must be {priority}, as in the first entry of format {each.name}"
            yield invalid(child("spec.supportedModelFormats", number, "priority"), each.priority, detail)
