"""Whose a value is that Kubernetes would refuse: who never wrote it must be told who did.

Problems of a merged pod stand where the author of the predictor would write the value. Where nothing stands
there, it came from the runtime or is Stoker's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stoker.serving import names
from stoker.serving.api.objects import InferenceService, ServingRuntime
from stoker.serving.problems import FieldProblem
from stoker.serving.rendering.storage import INITIALIZER, uri_field

_TOP = "spec.predictor"
_STEP = re.compile(r"\.([^.\[\]]+)|\[([^\]]*)\]")
_ABSENT = object()


def with_owners(
    problems: Sequence[FieldProblem], isvc: InferenceService, runtime: ServingRuntime | None
) -> list[FieldProblem]:
    """The problems; those at fields that the predictor does not have say whose value it is."""
    of_users = {each.message for each in problems if not _of_initializer(each.field, isvc)}
    found = []
    for each in problems:
        lacks = each.reason == "FieldValueRequired"  # then it is missing in what is above
        steps = _steps(each.field)[: -1 if lacks else None]
        if _of_initializer(each.field, isvc):
            # Its environment is the serving container's: what is wrong there is told there.
            if each.message not in of_users:
                found.append(_at_uri(each, isvc))
            continue
        theirs = _at(isvc.predictor.raw, steps) is _ABSENT
        owner = _owner(steps, runtime, lacks=lacks) if theirs else ""
        found.append(replace(each, message=f"{each.message}; {owner}") if owner else each)
    return found


def _owner(steps: Sequence[str], runtime: ServingRuntime | None, *, lacks: bool) -> str:
    if runtime is not None:
        serving = next(each for each in runtime.containers if each.get("name") == names.MODEL_CONTAINER)
        theirs = {
            **runtime.pod_spec,
            "labels": runtime.pod_labels,
            "containers": list(runtime.containers),
            "model": serving,
        }
        if _at(theirs, steps) is not _ABSENT:
            return f"runtime {runtime.name} sets it"
    return "" if lacks else "it is Stoker's default"


def _of_initializer(path: str, isvc: InferenceService) -> bool:
    steps = _steps(path)
    if steps[:1] != ["initContainers"] or len(steps) < 2:
        return False
    return steps[1] == INITIALIZER and _at(isvc.predictor.raw, steps[:2]) is _ABSENT


def _at_uri(problem: FieldProblem, isvc: InferenceService) -> FieldProblem:
    field = uri_field(isvc)
    inside = ".".join(_steps(problem.field)[2:])
    detail = (
        f"{problem.message}; it is {inside} of the init container {INITIALIZER}, which Stoker adds for this"
    )
    return replace(problem, field=field[0] if field else problem.field, message=detail)


def _steps(path: str) -> list[str]:
    below = path.removeprefix(_TOP)
    return [plain or bracketed for plain, bracketed in _STEP.findall(below)]


def _at(value: Any, steps: Sequence[str]) -> Any:
    """What stands there; an entry of a list by its number or by what it is called."""
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step, _ABSENT)
        elif isinstance(value, list):
            value = value[int(step)] if _is_number(step, len(value)) else _called(value, step)
        else:
            return _ABSENT
    return value


def _is_number(step: str, length: int) -> bool:
    return step.isdecimal() and len(step) < 6 and int(step) < length


def _called(listed: list[Any], name: str) -> Any:
    for each in listed:
        if isinstance(each, dict) and any(str(value) == name for value in each.values()):
            return each
    return _ABSENT
