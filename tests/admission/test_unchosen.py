"""Where no runtime fits, all is judged that is as wrong with any of them, and nothing else."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from stoker.serving.admission.validate import validate_inference_service
from stoker.serving.api.objects import ServingRuntime, parse_runtime
from stoker.serving.settings import Settings
from tests.admission.cases import TABLE, Case
from tests.admission.table.objects import Object, model
from tests.serving import golden

_SCHEMAS = golden.args_schemas()
_RUNTIME = parse_runtime(golden.shipped_runtime())
_OTHER = replace(_RUNTIME, name="other", annotations={})
_UNKNOWN = {"name": "pytorch"}
_M = "spec.predictor.model"
_FORMAT = f"{_M}.modelFormat.name"


def told(obj: Object, *runtimes: ServingRuntime, settings: Settings = Settings()) -> set[str]:  # noqa: B008
    given = runtimes or (_RUNTIME,)
    found = validate_inference_service(obj, None, given, settings, args_schemas=_SCHEMAS).problems
    return {problem.field for problem in found}


def _of_a_model(case: Case) -> bool:
    predictor = case.good.get("spec", {}).get("predictor", {})
    plain = predictor.get("model", {}) if isinstance(predictor, dict) else {}
    return "modelFormat" in plain and "runtime" not in plain


@pytest.mark.parametrize("case", [case for case in TABLE if _of_a_model(case)], ids=lambda case: case.name)
def test_what_is_right_with_a_runtime_is_not_wrong_without_one(case: Case) -> None:
    obj = copy.deepcopy(case.good)
    obj["spec"]["predictor"]["model"]["modelFormat"] = _UNKNOWN
    assert told(obj) == {_FORMAT}


WRONG = {
    "args": ["--model_id=a/b", "--no_such_flag"],
    "startupProbe": {"successThreshold": 2},
    "resources": {"requests": {"cpu": "4"}, "limits": {"cpu": "2"}},
}
_SURE = {f"{_M}.startupProbe.successThreshold", f"{_M}.resources.requests.cpu"}


def test_flags_are_judged_where_all_runtimes_have_one_schema() -> None:
    obj = model(modelFormat=_UNKNOWN, **WRONG)
    assert told(obj) == {_FORMAT, f"{_M}.args[1]", *_SURE}
    assert told(obj, _RUNTIME, replace(_RUNTIME, name="second")) == {_FORMAT, f"{_M}.args[1]", *_SURE}
    # Nobody knows whether it is meant, and its flags are unknown; one that is disabled is not.
    assert told(obj, _RUNTIME, _OTHER) == {_FORMAT, *_SURE}
    assert told(obj, _RUNTIME, replace(_OTHER, disabled=True)) == {_FORMAT, f"{_M}.args[1]", *_SURE}


def test_what_a_runtime_may_bring_that_is_still_to_come_is_not_asked_for() -> None:
    lenient = Settings(missing_runtime="warn")
    assert told(model(modelFormat=_UNKNOWN, args=["--no_such_flag"]), settings=lenient) == set()
    missing = {
        "volumeMounts": [{"name": "the-runtimes", "mountPath": "/x"}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "the-runtimes"}},
        "livenessProbe": {"failureThreshold": 3},
    }
    assert told(model(modelFormat=_UNKNOWN, **missing)) == {_FORMAT}
