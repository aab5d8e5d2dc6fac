"""A misspelt model format hides none of the other mistakes."""

from __future__ import annotations

from stoker.cli.run import args_schemas, shipped
from stoker.serving.admission.validate import validate_inference_service
from stoker.serving.api.objects import parse_runtime
from stoker.serving.settings import Settings


def test_everything_is_judged_with_the_format_that_was_meant() -> None:
    isvc = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "wrong", "namespace": "default"},
        "spec": {
            "predictor": {
                "model": {
                    "modelFormat": {"name": "hugingface"},
                    "args": ["--model_nam=x"],
                    "resources": {"requests": {"cpu": "4"}, "limits": {"cpu": "2"}},
                }
            }
        },
    }
    runtimes = [parse_runtime(each) for each in shipped()]
    verdict = validate_inference_service(isvc, None, runtimes, Settings(), args_schemas=args_schemas())
    assert {problem.field for problem in verdict.problems} == {
        "spec.predictor.model.modelFormat.name",
        "spec.predictor.model.args[0]",
        "spec.predictor.model.resources.requests.cpu",
    }


def test_a_probe_period_that_is_no_number_is_a_problem_with_its_path() -> None:
    isvc = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "wrong", "namespace": "default"},
        "spec": {
            "predictor": {
                "model": {
                    "modelFormat": {"name": "huggingface"},
                    "startupProbe": {"periodSeconds": [None]},
                }
            }
        },
    }
    runtimes = [parse_runtime(each) for each in shipped()]
    verdict = validate_inference_service(isvc, None, runtimes, Settings())
    assert [problem.field for problem in verdict.problems] == [
        "spec.predictor.model.startupProbe.periodSeconds"
    ]
