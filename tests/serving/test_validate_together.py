"""A mistake in one field hides none of the others."""

from __future__ import annotations

from typing import Any

from stoker.cli.run import args_schemas, shipped
from stoker.serving.admission.validate import validate_inference_service
from stoker.serving.api.objects import parse_runtime
from stoker.serving.settings import Settings


def refused_fields(**model: Any) -> set[str]:
    isvc = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "wrong", "namespace": "default"},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "huggingface"}} | model}},
    }
    runtimes = [parse_runtime(each) for each in shipped()]
    verdict = validate_inference_service(isvc, None, runtimes, Settings(), args_schemas=args_schemas())
    return {problem.field for problem in verdict.problems}


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
    assert refused_fields(startupProbe={"periodSeconds": [None]}) == {
        "spec.predictor.model.startupProbe.periodSeconds"
    }
