"""Whatever comes in: no crash, the same verdict twice, and what is allowed can be rendered."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.serving.admission.validate import Verdict, validate_inference_service, validate_runtime
from stoker.serving.api.objects import (
    parse_inference_service,
    parse_runtime,
    read_inference_service,
    read_runtime,
)
from stoker.serving.problems import FieldProblem
from stoker.serving.rendering.render import render
from stoker.serving.rendering.selection import select_runtime
from stoker.serving.settings import Settings
from tests.serving import golden

RUNTIME = parse_runtime(golden.shipped_runtime())
SCHEMAS = golden.args_schemas()
SERVING = {"name": "kserve-container", "image": "r:1"}


def judge(obj: dict[str, Any], old: dict[str, Any] | None = None) -> Verdict:
    return validate_inference_service(obj, old, [RUNTIME], Settings(), args_schemas=SCHEMAS)


words = st.sampled_from(
    ["a", "--model_id=a", "huggingface", "1", "{{.Labels.x}}", "kserve-container", "0", "5Gi"]
)
field_names = st.sampled_from(
    [
        "model",
        "modelFormat",
        "name",
        "args",
        "env",
        "containers",
        "resources",
        "limits",
        "requests",
        "cpu",
        "image",
        "ports",
        "labels",
        "annotations",
        "minReplicas",
        "runtime",
        "volumes",
        "securityContext",
        "lifecycle",
        "startupProbe",
        "periodSeconds",
        "containerPort",
        "preStop",
        "sleep",
        "seconds",
        "nodeSelector",
        "initContainers",
        "huggingface",
        "value",
        "deploymentStrategy",
        "spec",
        "predictor",
        "metadata",
    ]
)
anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False), words, st.text(max_size=4)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(field_names, inner, max_size=4)),
    max_leaves=25,
)
models = st.dictionaries(field_names, anything, max_size=5).map(
    lambda given: given | {"modelFormat": {"name": "huggingface"}}
)
wild = st.builds(
    lambda model, rest: rest | {"model": model}, models, st.dictionaries(field_names, anything, max_size=3)
)
# What a user might well write, so that most of it is allowed, with one field now and then that is anything.
short = st.text("abc", min_size=1, max_size=5)
cpu = st.fixed_dictionaries(
    {}, optional={"cpu": st.sampled_from(["1", 2, "500m"]), "nvidia.com/gpu": st.integers(0, 2)}
)
probe = st.fixed_dictionaries(
    {"httpGet": st.just({"path": "/", "port": 1})}, optional={"periodSeconds": st.integers(0, 9)}
)
hook = st.just({"exec": {"command": ["true"]}})
container = {
    "args": st.lists(
        st.sampled_from(
            ["--dtype=auto", "--drain_seconds=9", "--enforce-eager", "--no-enforce-eager"],
        ),
        max_size=3,
    ).map(lambda flags: ["--model_id=a", *flags]),
    "env": st.lists(
        st.builds(lambda name, value: {"name": name, "value": value}, short, short),
        max_size=2,
        unique_by=lambda each: each["name"],
    ),
    "image": st.sampled_from(["a", "a:1", "a@sha256:1"]),
    "ports": st.lists(st.builds(lambda number: {"containerPort": number}, st.integers(1, 65535)), max_size=2),
    "resources": cpu.map(lambda amounts: {"limits": amounts, "requests": dict(amounts)}),
    "startupProbe": probe,
    "readinessProbe": probe,
    "lifecycle": st.fixed_dictionaries({}, optional={"preStop": hook, "postStart": hook}),
    "securityContext": st.fixed_dictionaries(
        {}, optional={"runAsUser": st.integers(1, 2), "privileged": st.just(False)}
    ),
    "volumeMounts": st.lists(
        st.builds(lambda path: {"name": "home", "mountPath": path}, short),
        max_size=2,
        unique_by=lambda each: each["mountPath"],
    ),
    "command": st.lists(short, max_size=2),
    "terminationMessagePath": st.one_of(*[short] * 9, anything),
}
pod = {
    "minReplicas": st.integers(0, 2),
    "maxReplicas": st.integers(0, 9),
    "canaryTrafficPercent": st.integers(0, 100),
    "labels": st.dictionaries(short, short, max_size=2),
    "annotations": st.dictionaries(short, short, max_size=2),
    "nodeSelector": st.dictionaries(short, short, max_size=2),
    "tolerations": st.just([{"operator": "Exists"}]),
    "securityContext": st.fixed_dictionaries({}, optional={"runAsUser": st.integers(1, 2)}),
    "terminationGracePeriodSeconds": st.integers(0, 99),
    "initContainers": st.lists(
        st.fixed_dictionaries(
            {"name": short, "image": container["image"]},
            optional={name: container[name] for name in ("args", "env", "volumeMounts", "command")},
        ),
        max_size=1,
    ),
    "affinity": st.one_of(*[st.just({"nodeAffinity": {}})] * 9, anything),
}
always = {"volumes": st.just([{"name": "home", "emptyDir": {}}])}
images = container.pop("image")
others = {name: each for name, each in container.items() if name != "args"}
named = st.fixed_dictionaries(
    {"modelFormat": st.just({"name": "huggingface"}), "args": container["args"]},
    optional=others | {"image": images},
)
imaged = {"name": short, "image": images}
own = st.lists(st.fixed_dictionaries(imaged, optional=container), min_size=1, max_size=1)
likely = st.one_of(
    st.fixed_dictionaries(always | {"model": named}, optional=pod),
    st.fixed_dictionaries(always | {"containers": own}, optional=pod),
)
predictors = st.one_of(likely, likely, likely, wild, st.dictionaries(field_names, anything, max_size=5))


@given(anything)
@settings(max_examples=200)
def test_no_input_ends_in_a_crash(obj: Any) -> None:
    _, problems = read_inference_service(obj)
    assert all(isinstance(problem, FieldProblem) for problem in problems)
    read_runtime(obj)
    if isinstance(obj, dict):
        judge(obj)
        validate_runtime(obj, None)


def test_most_of_what_users_might_write_is_allowed() -> None:
    # Else the property below would say nothing.
    counted: Counter[bool] = Counter()

    @given(likely)
    @settings(max_examples=200, database=None)
    def count(predictor: dict[str, Any]) -> None:
        obj = {"metadata": {"name": "x", "namespace": "default"}, "spec": {"predictor": predictor}}
        counted[judge(obj).allowed] += 1

    count()
    assert counted[True] > counted.total() // 4


@given(predictors)
@settings(max_examples=300)
def test_what_is_allowed_can_be_rendered(predictor: dict[str, Any]) -> None:
    obj = {"metadata": {"name": "x", "namespace": "default"}, "spec": {"predictor": predictor}}
    verdict = judge(obj)
    assert judge(copy.deepcopy(obj)) == verdict
    assert judge(obj, obj).allowed
    if verdict.allowed:
        parsed = parse_inference_service(obj)
        template = render(parsed, select_runtime(parsed, [RUNTIME]).runtime, Settings()).template
        assert template["spec"]["containers"][0]["name"] == "kserve-container"


@given(st.dictionaries(field_names, anything, max_size=5), st.lists(anything, max_size=2))
@settings(max_examples=200)
def test_a_runtime_that_is_allowed_can_be_read(spec: dict[str, Any], containers: list[Any]) -> None:
    metadata = {"name": "r", "namespace": "default"}
    obj = {
        "kind": "ServingRuntime",
        "metadata": metadata,
        "spec": spec | {"containers": [SERVING, *containers]},
    }
    if validate_runtime(obj, None).allowed:
        parse_runtime(obj)
