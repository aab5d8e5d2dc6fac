"""What a verdict costs grows with the object and no faster: counted in calls, since times vary by machine."""

from __future__ import annotations

import cProfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stoker.serving.admission import pod_schema, size
from stoker.serving.admission.pod_schema import Node
from stoker.serving.admission.validate import validate_inference_service, validate_runtime
from stoker.serving.api.objects import parse_runtime
from stoker.serving.settings import Settings
from tests.admission.table.objects import MODEL_ID, Object, isvc, model, runtime
from tests.serving import golden

SCHEMAS = golden.args_schemas()
RUNTIME = parse_runtime(golden.shipped_runtime())
Steps = tuple[str, ...]
COUNTS = (10, 80, 150)


def lists(node: Node, steps: Steps = (), above: tuple[str, ...] = ()) -> Iterator[tuple[Steps, Node]]:
    """Every list and mapping below a definition of Kubernetes', with the fields that lead there."""
    for name, field in (node.fields or {}).items():
        if field.name in above:
            continue
        if field.items is not None or field.values is not None:
            yield (*steps, name), field
        inner = field.items if field.items is not None else field
        step = (*steps, name, "0") if field.items is not None else (*steps, name)
        yield from lists(inner, step, (*above, node.name))


def filled(node: Node, count: int) -> Any:
    """As many entries, all wrong, and each with a name of its own."""
    if node.values is not None:
        return {f"a b{number}": f"c d{number}" for number in range(count)}
    assert node.items is not None
    if node.items.fields is None:
        return [f"a b{number}" for number in range(count)]
    return [{"name": f"A{number}", f"unknow{number}": 1} for number in range(count)]


def put(steps: Steps, value: Any) -> Any:
    for step in reversed(steps):
        value = [value] if step == "0" else {step: value}
    return value


def made() -> Iterator[tuple[str, Callable[[int], Object]]]:
    seen: set[tuple[str, str]] = set()  # each kind of list once, wherever it stands
    for definition, make in (("Container", model), ("PodSpec", isvc)):
        for steps, node in lists(pod_schema.definition(definition)):
            kind = steps[-1], (node.items or node).name
            if kind not in seen:
                seen.add(kind)
                yield ".".join(steps), lambda n, m=make, s=steps, f=node: m(**put(s, filled(f, n)))
    for name, word in (
        ("unknown flags", "--enable-prefix-cachin{}"),
        ("one flag", "--seed=1"),
        ("stray words", "word"),
        ("refused flags", "--trust-remote-code"),
        ("placeholders", "{{{{.Labels.a{}}}}}"),
    ):
        yield name, lambda n, word=word: model(args=[MODEL_ID, *(word.format(i) for i in range(n))])
    yield "values", lambda n: model(args=["--model_id", *["x"] * n])
    yield (
        "mounts",
        lambda n: isvc(
            model={"volumeMounts": [{"mountPath": f"/{i}", "name": f"voulme{i}"} for i in range(n)]},
            volumes=[{"name": f"volume{i}", "emptyDir": {}} for i in range(n)],
        ),
    )
    yield "keys", lambda n: isvc(annotations={f"serving.kserve.io/metri{i}": "x" for i in range(n)})
    yield "metrics", lambda n: isvc(autoScaling={"metrics": [{"type": f"Resourc{i}"} for i in range(n)]})
    yield "protocols", lambda n: runtime(protocolVersions=["v1"] * n)
    yield "formats", lambda n: runtime(supportedModelFormats=[{"nam": f"a{i}"} for i in range(n)])


CASES = list(made())


def calls(obj: Object) -> int:
    """How many calls judging it takes."""
    profile = cProfile.Profile()
    profile.enable()
    if obj["kind"] == "InferenceService":
        validate_inference_service(obj, None, [RUNTIME], Settings(), args_schemas=SCHEMAS)
    else:
        validate_runtime(obj, None, args_schemas=SCHEMAS)
    profile.disable()
    return sum(each.callcount for each in profile.getstats())


def test_no_list_costs_more_the_longer_it_is() -> None:
    for name, make in CASES:
        calls(make(2))  # what is read once
        few, more, most = (calls(make(count)) for count in COUNTS)
        assert most - more <= 1.3 * (more - few) + 100, name


@pytest.mark.parametrize("kind", ["service", "runtime"])
def test_what_holds_more_than_can_be_judged_in_time_is_refused_at_once(kind: str) -> None:
    command = ["true"] * (size.MOST_VALUES + 1)
    obj = model(command=command) if kind == "service" else runtime(container={"command": command})
    assert calls(obj) < 500
    deep: Any = {}
    for _ in range(size.MOST_LEVELS):
        deep = {"a": deep}
    problem = size.check(isvc(affinity=deep))
    assert problem is not None
    assert "50 levels" in problem.message
    assert size.check(model(command=["true"] * (size.MOST_VALUES - 20))) is None
