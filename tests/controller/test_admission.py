"""The rules of admission once more, before a revision is made: the webhook may have been away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.caches import Admission
from controller.desired import desire
from stoker.serving import names
from stoker.serving.settings import Settings
from stoker.serving.status.judge import judge
from tests.admission.table import security
from tests.controller import golden
from tests.serving.golden import args_schemas

Object = dict[str, Any]
SMALL: Object = {"model": {"modelFormat": {"name": "huggingface"}, "args": ["--model_id=org/small"]}}


def judged(given: Object, admission: Admission, **annotations: str) -> tuple[Any, Any]:
    """What is wanted, and the Ready condition."""
    view, _ = golden.view_of(given, Settings())
    view = replace(view, admission=admission)
    view.obj["metadata"]["annotations"] = annotations
    desired = desire(view, Settings(), lambda _: None, 0.0)
    conditions = judge(desired.situation)["conditions"]
    return desired, next(each for each in conditions if each["type"] == "Ready")


def test_a_flag_that_the_webhook_would_refuse_makes_no_pod() -> None:
    wrong = {"model": {"modelFormat": {"name": "huggingface"}, "args": ["--model_nam=x"]}}
    desired, ready = judged({"predictor": wrong}, Admission(args_schemas()))
    assert (desired.new_revision, desired.keep) == (None, ())
    assert (ready["status"], ready["reason"]) == ("False", "InvalidPredictorSpec")
    assert "spec.predictor.model.args[0]" in ready["message"]
    assert "--model_name" in ready["message"], "the nearest flag"


_OF_SERVICES = [row for row in security.ROWS if row[4]["kind"] == names.INFERENCE_SERVICE_KIND]


@pytest.mark.parametrize(("field", "words", "bad"), [row[2:5] for row in _OF_SERVICES])
def test_the_security_list_holds_without_webhook_and_policy(field: str, words: str, bad: Object) -> None:
    view, _ = golden.view_of({"predictor": bad["spec"]["predictor"]}, Settings())
    view = replace(view, admission=Admission(args_schemas()))
    view.obj["metadata"] |= {each: bad["metadata"].get(each, {}) for each in ("labels", "annotations")}
    desired = desire(view, Settings(), lambda _: None, 0.0)
    assert desired.new_revision is None
    message = next(c for c in judge(desired.situation)["conditions"] if c["type"] == "Ready")["message"]
    assert field in message
    assert words in message


def test_the_namespace_decides_what_is_trusted() -> None:
    host = SMALL | {"hostNetwork": True}
    desired, ready = judged({"predictor": host}, Admission())
    assert desired.new_revision is None
    assert "spec.predictor.hostNetwork" in ready["message"]
    trusted = Admission(namespace_labels={names.SECURITY_LABEL: "trusted"})
    desired, _ = judged({"predictor": host}, trusted)
    assert desired.new_revision is not None


def test_what_the_last_revision_was_allowed_is_not_held_against_the_next() -> None:
    host = SMALL | {"hostNetwork": True}
    history = [{"predictor": host, "replicas": 1}]
    longer: Object = host | {"model": SMALL["model"] | {"args": ["--model_id=org/large"]}}
    desired, _ = judged({"predictor": longer, "history": history, "generation": 2}, Admission())
    assert desired.new_revision is not None


def test_pods_that_run_are_left_alone() -> None:
    host = SMALL | {"hostNetwork": True}
    given = {
        "predictor": host,
        "generation": 2,
        "history": [{"predictor": SMALL, "replicas": 1}],
        "pods": [{"revision": 1, "status": "ready"}],
    }
    desired, ready = judged(given, Admission())
    assert desired.new_revision is None
    assert desired.delete == []
    assert [
        each.wanted["metadata"]["name"] for each in desired.keep if each.resource.kind == "Deployment"
    ] == ["llm-predictor-00001"]
    assert "llm-predictor-00001 still serves" in ready["message"]


def test_a_progress_deadline_is_the_services_own_or_the_settings() -> None:
    def deadline(**annotations: str) -> Any:
        desired, _ = judged({"predictor": SMALL}, Admission(), **annotations)
        [made] = [each.wanted for each in desired.keep if each.resource.kind == "Deployment"]
        return made["spec"]["progressDeadlineSeconds"]

    assert deadline() == 4200
    assert deadline(**{names.PROGRESS_DEADLINE_ANNOTATION: "90"}) == 90


def test_a_progress_deadline_that_is_none_is_told_with_its_path() -> None:
    desired, ready = judged({"predictor": SMALL}, Admission(), **{names.PROGRESS_DEADLINE_ANNOTATION: "soon"})
    assert (desired.new_revision, desired.keep) == (None, ())
    assert "metadata.annotations[stoker.dev/progress-deadline]" in ready["message"]
