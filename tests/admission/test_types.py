"""No value makes a rule fail, whatever its type: what is not judged would be allowed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from stoker.serving.admission import pod_schema
from stoker.serving.admission.pod_schema import Node
from stoker.serving.admission.validate import validate_inference_service, validate_runtime
from stoker.serving.api.objects import parse_runtime
from stoker.serving.settings import Settings
from tests.admission.table.objects import Object, isvc, model, own, runtime
from tests.serving import golden

SCHEMAS = golden.args_schemas()
RUNTIME = parse_runtime(golden.shipped_runtime())
WRONG = (7, "x", [None], {"a": 7})


def fields(node: Node, steps: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every field up to three below a definition of Kubernetes', "0" for the entry of a list."""
    for name, field in (node.fields or {}).items():
        yield (*steps, name)
        if len(steps) < 3:
            step = (*steps, name, "0") if field.items is not None else (*steps, name)
            yield from fields(field.items or field, step)


def put(steps: tuple[str, ...], value: Any) -> Any:
    for step in reversed(steps):
        value = [value] if step == "0" else {step: value}
    return copy.deepcopy(value)


def judged(obj: Object) -> None:
    if obj["kind"] == "InferenceService":
        validate_inference_service(obj, None, [RUNTIME], Settings(), args_schemas=SCHEMAS)
    else:
        validate_runtime(obj, None, args_schemas=SCHEMAS)


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_every_field_may_have_another_type(wrong: Any) -> None:
    for steps in fields(pod_schema.definition("Container")):
        judged(model(**put(steps, wrong)))
        judged(own(**put(steps, wrong)))
    for steps in fields(pod_schema.definition("ContainerPort")):
        judged(model(ports=[{"containerPort": 80, **put(steps, wrong)}]))
    for steps in fields(pod_schema.definition("PodSpec")):
        if steps[0] not in ("containers", "initContainers", "ephemeralContainers", "volumes"):
            judged(isvc(**put(steps, wrong)))
            judged(runtime(**put(steps, wrong)))
