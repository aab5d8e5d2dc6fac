"""Another mistake never hides one: every row of the table is told beside others."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from stoker.serving.admission.validate import validate_inference_service
from stoker.serving.api.objects import parse_runtime
from stoker.serving.settings import Settings
from tests.admission.cases import TABLE
from tests.admission.table.objects import Object
from tests.serving import golden

_SCHEMAS = golden.args_schemas()
_RUNTIME = parse_runtime(golden.shipped_runtime())
# Where it stands below the predictor, and a value that cannot be read or that Kubernetes would refuse.
MISTAKES: list[tuple[tuple[str, ...], Any]] = [
    (("tolerations",), {}),
    (("canaryTrafficPercent",), 200),
    (("imagePullSecrets",), [{"nme": "x"}]),
    (("volumes",), [{"name": "a", "emptyDir": 3}]),
    (("model", "env"), [{"name": "ZZ", "value": 1}]),
    (("model", "ports"), [{"containerPort": "x"}]),
    (("model", "resources"), {"limits": {"cpu": "lots"}}),
    (("model", "storageUri"), "hf//x"),
]


def _told(obj: Object) -> set[str]:
    found = validate_inference_service(obj, None, [_RUNTIME], Settings(), args_schemas=_SCHEMAS).problems
    return {problem.field for problem in found}


def _with(obj: Object, steps: tuple[str, ...], value: Any) -> Object | None:
    """With the mistake too; None where something stands there already."""
    made = copy.deepcopy(obj)
    inner = made["spec"].get("predictor")
    for step in steps[:-1]:
        inner = inner.get(step) if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or steps[-1] in inner:
        return None
    inner[steps[-1]] = value
    return made


@pytest.mark.parametrize(("steps", "value"), MISTAKES, ids=[".".join(steps) for steps, _ in MISTAKES])
def test_every_mistake_of_the_table_is_told_beside_another(steps: tuple[str, ...], value: Any) -> None:
    asked = 0
    for case in TABLE[MISTAKES.index((steps, value)) % 3 :: 3]:  # a third of them each, for time
        if case.bad["kind"] != "InferenceService":
            continue
        both, only = _with(case.bad, steps, value), _with(case.good, steps, value)
        if both is None or only is None:
            continue
        asked += 1
        alone, together, other = _told(case.bad), _told(both), _told(only)
        assert alone <= together, (case.name, alone - together)
        assert together <= alone | other, (case.name, together - alone - other)
    assert asked > 40
