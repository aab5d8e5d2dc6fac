"""The rules before storing: each mistake at its field, all at once; an update only for what it worsens."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from stoker.serving.admission.validate import Verdict, validate_inference_service, validate_runtime
from stoker.serving.api.objects import parse_runtime
from stoker.serving.settings import Settings
from tests.serving import golden

RUNTIME = parse_runtime(golden.shipped_runtime())
SCHEMAS = golden.args_schemas()


def isvc(
    name: str = "x", namespace: str = "default", args: list[str] | None = None, **predictor: Any
) -> dict[str, Any]:
    model = {"modelFormat": {"name": "huggingface"}, "args": ["--model_id=a/b"] if args is None else args}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"predictor": {"model": model} | predictor},
    }


def judge(obj: dict[str, Any], old: dict[str, Any] | None = None, config: Settings = Settings()) -> Verdict:  # noqa: B008
    return validate_inference_service(obj, old, [RUNTIME], config, args_schemas=SCHEMAS)


def fields(verdict: Verdict) -> set[str]:
    return {problem.field for problem in verdict.problems}


MODEL = "spec.predictor.model"
REFUSED = [
    ("name begins with a digit", isvc(name="1x"), "metadata.name", "begin with a letter"),
    ("name too long for a revision", isvc(name="a" * 48), "metadata.name", "at most 47"),
    (
        "too few at most",
        isvc(minReplicas=3, maxReplicas=2),
        "spec.predictor.maxReplicas",
        "minReplicas, which is 3",
    ),
    (
        "too few at most, by default",
        isvc(minReplicas=None, maxReplicas=-1),
        "spec.predictor.maxReplicas",
        "from 0",
    ),
    (
        "percent over 100",
        isvc(canaryTrafficPercent=150),
        "spec.predictor.canaryTrafficPercent",
        "from 0 to 100",
    ),
    (
        "percent as text",
        isvc(canaryTrafficPercent="10"),
        "spec.predictor.canaryTrafficPercent",
        "whole number",
    ),
    ("mistyped field", isvc(minReplica=1), "spec.predictor.minReplica", 'did you mean "minReplicas"'),
    ("number as argument", isvc(args=["--model_id=a/b", 5]), f"{MODEL}.args[1]", "in quotes"),  # type: ignore[list-item]
    ("two kinds", isvc(onnx={}), "spec.predictor", "must have one of model"),
    ("unknown flag", isvc(args=["--model_idd=a"]), f"{MODEL}.args[0]", "did you mean --model_id?"),
    ("unknown flag, negated", isvc(args=["--no-such"]), f"{MODEL}.args[0]", "Unknown flag --no-such"),
    ("flag of another server", isvc(args=["--revision=1"]), f"{MODEL}.args[0]", "use --model_revision"),
    ("choice", isvc(args=["--dtype", "flaot16"]), f"{MODEL}.args[0]", 'did you mean "float16"'),
    ("number", isvc(args=["--lame_duck_seconds=x"]), f"{MODEL}.args[0]", "must be a number"),
    ("missing value", isvc(args=["--model_id"]), f"{MODEL}.args[0]", "must have one value"),
    ("two values", isvc(args=["--model_id", "a", "b"]), f"{MODEL}.args[0]", "must have one value"),
    ("no flag", isvc(args=["model_id=a/b"]), f"{MODEL}.args[0]", "--model_id=a/b"),
    ("key of a flag without keys", isvc(args=["--dtype.a=1"]), f"{MODEL}.args[0]", "Unknown flag"),
    (
        "vLLM's flag on transformers",
        isvc(args=["--backend=huggingface", "--enforce-eager"]),
        f"{MODEL}.args[1]",
        "is a flag of --backend=vllm",
    ),
]


@pytest.mark.parametrize(
    ("obj", "field", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_refused(obj: dict[str, Any], field: str, words: str) -> None:
    found = [problem for problem in judge(obj).problems if problem.field == field]
    assert any(words in problem.message for problem in found), judge(obj).problems


ALLOWED = [
    ("plain", isvc()),
    ("longest name", isvc(name="a" * 47)),
    ("not limited, as in KServe", isvc(minReplicas=3, maxReplicas=0)),
    ("no replicas", isvc(minReplicas=0, maxReplicas=0)),
    ("all requests to the newest", isvc(canaryTrafficPercent=100)),
    (
        "vLLM's flags",
        isvc(args=["--model-id", "a/b", "--enforce-eager", "--no-enable-prefix-caching", "-tp", "2"]),
    ),
    ("keys of a flag", isvc(args=["--model_id=a/b", "--compilation-config.mode=3"])),
    ("filled in later", isvc(args=["--model_id=$(MODEL)", "--dtype={{.Name}}"])),
    ("negative number as value", isvc(args=["--model_id=a/b", "--seed", "-1"])),
]


@pytest.mark.parametrize("obj", [row[1] for row in ALLOWED], ids=[row[0] for row in ALLOWED])
def test_allowed(obj: dict[str, Any]) -> None:
    assert judge(obj).problems == ()


def test_all_problems_at_once() -> None:
    obj = isvc(name="UPPER", args=["--modle_id=a"], minReplicas=2, maxReplicas=1, workerSpec={"a": 1})
    obj["spec"]["predictor"]["model"]["resources"] = {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}
    assert fields(judge(obj)) == {
        "metadata.name",
        "spec.predictor.maxReplicas",
        "spec.predictor.workerSpec",
        f"{MODEL}.resources.requests.cpu",
        f"{MODEL}.args[0]",
    }


def test_the_merged_limits_count_not_the_users_alone() -> None:
    obj = isvc()
    obj["spec"]["predictor"]["model"]["resources"] = {"requests": {"cpu": "64"}}
    assert judge(obj).allowed  # the runtime's limit of 2 is raised


def test_a_host_with_a_label_too_long() -> None:
    config = Settings(url_template="{name}-{namespace}.{domain}")
    verdict = judge(isvc(name="a" * 40, namespace="n" * 40), config=config)
    assert [problem.field for problem in verdict.problems] == ["metadata.name"]
    assert "more than 63" in verdict.problems[0].message


def test_without_a_schema_flags_are_not_judged_and_that_is_said() -> None:
    obj = isvc(args=["--anything=1", "--model_id=a/b"])
    assert validate_inference_service(obj, None, [RUNTIME], Settings()) == Verdict()
    other = validate_inference_service(obj, None, [RUNTIME], Settings(), args_schemas={"other": {}})
    assert other.problems == ()
    assert "there is no schema" in other.warnings[0]


def test_flags_of_an_image_of_ones_own_are_not_judged() -> None:
    obj = isvc(args=["--anything=1"])
    obj["spec"]["predictor"]["model"]["image"] = "mine:1"
    assert judge(obj).allowed


def test_a_runtime_that_may_come_later_is_a_warning_by_setting() -> None:
    obj = isvc()
    obj["spec"]["predictor"]["model"]["runtime"] = "later"
    assert fields(judge(obj)) == {f"{MODEL}.runtime"}
    verdict = judge(obj, config=Settings(missing_runtime="warn"))
    assert verdict.allowed
    assert "later" in verdict.warnings[0]


def test_an_update_is_refused_only_for_what_it_makes_worse() -> None:
    old = isvc(args=["--gone=1", "--model_id=a/b"], workerSpec={"a": 1})
    same_but_moved = isvc(args=["--model_id=a/b", "--gone=1"], workerSpec={"a": 1}, minReplicas=2)
    assert not judge(old).allowed
    verdict = judge(same_but_moved, old)
    assert verdict.allowed
    assert len([each for each in verdict.warnings if each.startswith("not new, so allowed")]) == 2
    worse = isvc(args=["--gone=1", "--gone=1", "--model_id=a/b", "--more=1"], workerSpec={"a": 1})
    assert {problem.field for problem in judge(worse, old).problems} == {
        f"{MODEL}.args[1]",
        f"{MODEL}.args[3]",
    }


def test_deletion_always_passes() -> None:
    obj = isvc(args=["--gone=1"], workerSpec={"a": 1})
    obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert judge(obj, isvc()) == Verdict()
    runtime = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert validate_runtime(runtime, None) == Verdict()


# --- runtimes


def runtime(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "r", "namespace": "default"},
        "spec": {"containers": list(containers)} | spec,
    }


SERVING = {"name": "kserve-container", "image": "r:1"}
BAD_RUNTIMES = [
    ("nothing that serves", runtime({"name": "a"}), "spec.containers", "called kserve-container"),
    ("a name twice", runtime(SERVING, SERVING), "spec.containers[1].name", "Duplicate"),
    (
        "request over limit",
        runtime(SERVING | {"resources": {"requests": {"cpu": 2}, "limits": {"cpu": 1}}}),
        "spec.containers[0].resources.requests.cpu",
        "at most the limit",
    ),
    (
        "mistyped field",
        runtime(SERVING, suportedModelFormats=[]),
        "spec.suportedModelFormats",
        "did you mean",
    ),
    (
        "two priorities for one format",
        runtime(SERVING, supportedModelFormats=[{"name": "a", "priority": 1}, {"name": "a", "priority": 2}]),
        "spec.supportedModelFormats[1].priority",
        "must be 1",
    ),
    (
        "env without name",
        runtime(SERVING | {"env": [{"value": "1"}]}),
        "spec.containers[0].env[0].name",
        "Required",
    ),
]


@pytest.mark.parametrize(
    ("obj", "field", "words"), [row[1:] for row in BAD_RUNTIMES], ids=[row[0] for row in BAD_RUNTIMES]
)
def test_refused_runtime(obj: dict[str, Any], field: str, words: str) -> None:
    found = [problem for problem in validate_runtime(obj, None).problems if problem.field == field]
    assert any(words in problem.message for problem in found)
    assert validate_runtime(obj, copy.deepcopy(obj)).allowed


def test_a_placeholder_that_does_not_exist_is_a_warning() -> None:
    verdict = validate_runtime(runtime(SERVING | {"args": ["{{.Nmae}}"]}), None)
    assert verdict.allowed
    assert "{{.Nmae}}" in verdict.warnings[0]


def test_shipped_runtimes_and_samples_pass_without_a_word() -> None:
    assert validate_runtime(golden.shipped_runtime(), None) == Verdict()
