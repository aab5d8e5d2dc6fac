"""A mistake in one field hides none of the others."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest

from stoker.cli.run import args_schemas, shipped
from stoker.serving.admission.validate import validate_inference_service, validate_runtime
from stoker.serving.api.objects import parse_runtime
from stoker.serving.problems import FieldProblem
from stoker.serving.settings import Settings

RUNTIMES = [parse_runtime(each) for each in shipped()]
SCHEMAS = args_schemas()
Object = dict[str, Any]


def inference_service(**model: Any) -> Object:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "wrong", "namespace": "default"},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "huggingface"}} | model}},
    }


def problems_of(isvc: Object, old: Object | None = None) -> list[FieldProblem]:
    verdict = validate_inference_service(isvc, old, RUNTIMES, Settings(), args_schemas=SCHEMAS)
    return list(verdict.problems)


def refused_fields(**model: Any) -> set[str]:
    return {problem.field for problem in problems_of(inference_service(**model))}


def test_everything_is_judged_with_the_format_that_was_meant() -> None:
    assert refused_fields(
        modelFormat={"name": "hugingface"},
        args=["--model_nam=x"],
        resources={"requests": {"cpu": "4"}, "limits": {"cpu": "2"}},
    ) == {
        "spec.predictor.model.modelFormat.name",
        "spec.predictor.model.args[0]",
        "spec.predictor.model.resources.requests.cpu",
    }


def test_a_probe_period_that_is_no_number_is_a_problem_with_its_path() -> None:
    assert refused_fields(storageUri="hf://a/b", startupProbe={"periodSeconds": [None]}) == {
        "spec.predictor.model.startupProbe.periodSeconds"
    }


def _good() -> Object:
    volumes = [{"name": "data", "emptyDir": {}}]
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    args = ["--max_num_seqs=8", "--max_model_len=512"]
    made = inference_service(storageUri="hf://a/b", args=args, env=env, resources={})
    made["spec"]["predictor"] |= {"volumes": volumes, "tolerations": []}
    return made


def _set(*steps: str | int, to: Any) -> Callable[[Object], None]:
    def change(isvc: Object) -> None:
        found: Any = isvc["spec"]["predictor"]
        for step in steps[:-1]:
            found = found[step]
        found[steps[-1]] = to

    return change


# What is wrong, where that is told, and the words: no two of them are about one field.
MISTAKES: dict[str, tuple[Callable[[Object], None], str, str]] = {
    "a list that is none": (_set("tolerations", to={}), "tolerations", "must be a list"),
    "an entry that is no object": (_set("tolerations", to=["x"]), "tolerations[0]", "must be an object"),
    "an entry without its key": (
        _set("imagePullSecrets", to=[{"nme": "x"}]),
        "imagePullSecrets[0].name",
        "Req",
    ),
    "a share over 100": (_set("canaryTrafficPercent", to=200), "canaryTrafficPercent", "from 0 to 100"),
    "text for a number": (_set("minReplicas", to="two"), "minReplicas", "a whole number"),
    "a number in args": (_set("model", "args", 1, to=8192), "model.args[1]", "must be a string"),
    "a number in env": (_set("model", "env", 0, "value", to=1), "model.env[0].value", "must be a string"),
    "a probe that is a number": (_set("model", "livenessProbe", to=1), "model.livenessProbe", "an object"),
    "an unknown flag": (_set("model", "args", 0, to="--max_num_seq=8"), "model.args[0]", "--max_num_seqs"),
    "a URI of no scheme": (_set("model", "storageUri", to="hf//x"), "model.storageUri", "hf://"),
    "more asked for than allowed": (
        _set("model", "resources", to={"requests": {"cpu": "4"}, "limits": {"cpu": "2"}}),
        "model.resources.requests.cpu",
        "at most the limit",
    ),
    "limits that are a number": (
        _set("model", "resources", to={"limits": 3}),
        "model.resources.limits",
        "object",
    ),
    "a volume of two kinds": (
        _set("volumes", 0, "hostPath", to={"path": "x/../y"}),
        "volumes[0]",
        "",
    ),
    "an unknown format": (_set("model", "modelFormat", "name", to="onnx"), "model.modelFormat.name", "onnx"),
    "a format that is text": (_set("model", "modelFormat", to="huggingface"), "model.modelFormat", "object"),
}
SAME = ("more asked for than allowed", "limits that are a number")


def _told(mistake: str, found: list[FieldProblem]) -> bool:
    _, field, words = MISTAKES[mistake]
    return any(each.field.startswith(f"spec.predictor.{field}") and words in each.message for each in found)


@pytest.mark.parametrize("mistakes", [*combinations(MISTAKES, 2)], ids=" and ".join)
def test_of_two_mistakes_both_are_told(mistakes: tuple[str, str]) -> None:
    one, other = (MISTAKES[each] for each in mistakes)
    if one[1].startswith(other[1]) or other[1].startswith(one[1]) or mistakes == SAME:
        pytest.skip("the same place")
    isvc = _good()
    one[0](isvc)
    other[0](isvc)
    found = problems_of(isvc)
    assert all(_told(each, found) for each in mistakes), [str(each) for each in found]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_mistake_is_told_alone(mistake: str) -> None:
    isvc = _good()
    assert problems_of(isvc) == []
    MISTAKES[mistake][0](isvc)
    found = problems_of(isvc)
    place = f"spec.predictor.{MISTAKES[mistake][1]}".removesuffix(".name")
    assert found
    assert [str(each) for each in found if not each.field.startswith(place)] == []


@pytest.mark.parametrize("mistake", ["a list that is none", "an entry that is no object", "a number in env"])
def test_an_update_of_what_cannot_be_read_is_refused_for_what_it_adds(mistake: str) -> None:
    old = _good()
    MISTAKES[mistake][0](old)
    assert problems_of(copy.deepcopy(old), old) == []
    new = copy.deepcopy(old)
    new["spec"]["predictor"]["model"]["args"].append("--bogus_flag")
    assert [each.field for each in problems_of(new, old)] == ["spec.predictor.model.args[2]"]


def test_a_runtime_is_judged_without_what_cannot_be_read_in_it() -> None:
    runtime = copy.deepcopy(next(iter(shipped())))
    runtime["spec"]["tolerations"] = "none"
    serving = runtime["spec"]["containers"][0]
    serving["resources"] = {"requests": {"cpu": "4"}, "limits": {"cpu": "2"}}
    serving["livenessProbe"] = {"httpGet": {"path": "/live"}}
    found = {problem.field for problem in validate_runtime(runtime, None, args_schemas=SCHEMAS).problems}
    assert found == {
        "spec.tolerations",
        "spec.containers[0].resources.requests.cpu",
        "spec.containers[0].livenessProbe.httpGet.port",
    }
