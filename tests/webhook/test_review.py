"""AdmissionReview in, answer out."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from stoker.configuration import load_args_schemas
from stoker.serving.admission.validate import Verdict
from stoker.serving.api.objects import parse_runtime
from stoker.serving.problems import FieldProblem
from stoker.serving.settings import Settings
from tests.webhook.objects import (
    ARGS_SCHEMAS,
    BAD_FIELDS,
    Object,
    bad_inference_service,
    cluster_runtime,
    inference_service,
    namespaced_runtime,
    review,
)
from webhook import review as module
from webhook.answers import MAX_LISTED, answer
from webhook.review import MAX_LINE, MalformedReview, Rules, judge, parse_review

RULES = Rules(Settings(), [parse_runtime(cluster_runtime())], load_args_schemas(ARGS_SCHEMAS))


def asked(document: Object, rules: Rules = RULES) -> Object:
    parsed = parse_review(json.dumps(document).encode())
    reply = answer(parsed, judge(parsed, rules))
    assert reply["apiVersion"] == "admission.k8s.io/v1"
    assert reply["kind"] == "AdmissionReview"
    response: Object = reply["response"]
    assert response["uid"] == document["request"]["uid"]
    return response


def test_a_good_object_is_allowed_without_a_status() -> None:
    assert asked(review(inference_service(), uid="abc")) == {"uid": "abc", "allowed": True}


def test_a_refusal_lists_every_problem_for_people_and_for_tools() -> None:
    response = asked(review(bad_inference_service()))
    status = response["status"]
    assert response["allowed"] is False
    assert (status["code"], status["reason"], status["status"]) == (422, "Invalid", "Failure")
    details = status["details"]
    assert (details["kind"], details["name"], details["group"]) == (
        "InferenceService",
        "bad",
        "serving.kserve.io",
    )
    assert {cause["field"] for cause in details["causes"]} == BAD_FIELDS
    lines = status["message"].splitlines()
    assert lines == [f"{cause['field']}: {cause['message']}" for cause in details["causes"]]
    assert any("model_name" in line for line in lines), "the nearest flag is named"


def test_a_dry_run_gets_the_same_answer() -> None:
    for obj in (inference_service(), bad_inference_service()):
        document = review(obj)
        dry = copy.deepcopy(document)
        dry["request"]["dryRun"] = True
        assert asked(dry) == asked(document)


def test_the_runtimes_given_are_the_ones_that_count() -> None:
    response = asked(review(inference_service()), Rules(Settings()))
    assert [cause["field"] for cause in response["status"]["details"]["causes"]] == [
        "spec.predictor.model.modelFormat.name"
    ]


@pytest.mark.parametrize("make", [cluster_runtime, lambda: namespaced_runtime("own")])
def test_runtimes_are_judged_too(make: Any) -> None:
    assert asked(review(make()))["allowed"]
    broken = make()
    broken["spec"]["containers"][0]["name"] = "main"
    response = asked(review(broken))
    assert not response["allowed"]
    assert response["status"]["details"]["kind"] == broken["kind"]


def test_what_is_on_its_way_out_is_never_refused() -> None:
    bad = bad_inference_service()
    leaving = copy.deepcopy(bad)
    leaving["metadata"] |= {"deletionTimestamp": "2030-01-01T00:00:00Z", "finalizers": ["a"]}
    without = copy.deepcopy(leaving)
    without["metadata"]["finalizers"] = []
    without["spec"]["predictor"]["minReplicas"] = 4
    assert asked(review(without, leaving))["allowed"]
    assert asked(review(None, bad, "DELETE"))["allowed"]


def test_an_update_of_what_is_not_judged_passes_whatever_was_stored() -> None:
    old = bad_inference_service()
    new = copy.deepcopy(old)
    new["metadata"] |= {"finalizers": ["a"], "labels": {}}
    new["status"] = {"url": "http://somewhere"}
    assert asked(review(new, old)) == {"uid": "u-1", "allowed": True}
    status = review(bad_inference_service(), inference_service("bad"))
    status["request"]["subResource"] = "status"
    assert asked(status)["allowed"]


def test_an_update_is_refused_only_for_what_it_makes_worse() -> None:
    old = bad_inference_service()
    new = copy.deepcopy(old)
    new["spec"]["predictor"]["model"]["args"].append("--anohter=1")
    response = asked(review(new, old))
    fields = [cause["field"] for cause in response["status"]["details"]["causes"]]
    assert fields == ["spec.predictor.model.args[3]"]
    assert len(response["warnings"]) >= len(BAD_FIELDS)


@pytest.mark.parametrize("group", ["", "apps"])
def test_a_kind_without_rules_is_allowed_with_a_warning(group: str) -> None:
    document = review(inference_service())
    document["request"]["resource"] = {"group": group, "version": "v1", "resource": "pods"}
    response = asked(document)
    assert response["allowed"]
    assert "no rules for pods" in response["warnings"][0]


def test_a_rule_that_fails_lets_the_object_pass_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Verdict:
        raise KeyError("model")

    monkeypatch.setattr(module, "validate_inference_service", broken)
    parsed = parse_review(json.dumps(review(inference_service())).encode())
    judgement = judge(parsed, RULES)
    assert isinstance(judgement.fault, KeyError)
    response = answer(parsed, judgement)["response"]
    assert response["allowed"]
    assert "the controller checks it" in response["warnings"][0]


def test_answers_fit_into_a_terminal_and_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = tuple(FieldProblem(f"spec.a[{n}]", "FieldValueInvalid", "x\ny" * 2000) for n in range(1000))
    verdict = Verdict(problems, ("one\r\ntwo",))
    monkeypatch.setattr(module, "validate_inference_service", lambda *_, **__: verdict)
    response = asked(review(inference_service()))
    lines = response["status"]["message"].splitlines()
    assert len(lines) == MAX_LISTED + 1
    assert lines[-1] == "and 800 more"
    assert max(map(len, lines)) == MAX_LINE
    assert len(response["status"]["details"]["causes"]) == MAX_LISTED
    assert response["warnings"] == ["one two"]


def request_with(**changes: object) -> bytes:
    document = review(inference_service())
    document["request"] |= changes
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b'{"a": NaN}', "NaN"),
        (b"[" * 100_000, "no JSON"),
        (b"9" * 10_000, "no JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "AdmissionReview"),
        (
            b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1"}',
            "admission.k8s.io/v1beta1",
        ),
        (b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}', "no request"),
        (request_with(uid=None), "uid"),
        (request_with(uid=""), "uid"),
        (request_with(operation="PATCH"), "operation"),
        (request_with(object=None), "request.object"),
        (request_with(object=[]), "request.object"),
        (request_with(operation="UPDATE"), "request.oldObject"),
        (request_with(resource="pods"), "request.resource"),
        (request_with(kind=None), "request.kind"),
        (request_with(namespace=7), "namespace"),
    ],
)
def test_what_is_no_review_is_named(body: bytes, words: str) -> None:
    with pytest.raises(MalformedReview, match=words) as caught:
        parse_review(body)
    assert caught.value.status == 400
