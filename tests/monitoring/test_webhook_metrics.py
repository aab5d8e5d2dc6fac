"""What the webhook counts of its reviews: which rules refuse, and never in a user's own words."""

from __future__ import annotations

import random
import string
from dataclasses import replace
from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stoker.serving.problems import FieldProblem, Reason
from webhook.metrics import FIELDS, Metrics
from webhook.review import Judgement, Review

_REVIEW = Review(
    "u", "CREATE", "serving.kserve.io", "inferenceservices", "", "InferenceService", "a", "n", {}, None
)
_STEPS = ("spec", "predictor", "model", "metadata", "args", "containers", "labels", "annotations")


def _counted(metrics: Metrics) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
        if sample.name.startswith("stoker_webhook_") and not sample.name.startswith("stoker_webhook_cert")
    }


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("spec.predictor.model.args[3]", "spec.predictor.model.args"),
        ("spec.predictor.model", "spec.predictor.model"),
        ("spec.predictor.model.name", "spec.predictor.model"),
        ("spec.predictor.model.resources.limits[nvidia.com/gpu]", "spec.predictor.model.resources"),
        ("spec.predictor.containers[0].env[1].value", "spec.predictor.containers"),
        ("spec.predictor.nodeSelector.mine", "spec.predictor"),
        ("metadata.annotations[stoker.dev/objective-ttft-seconds]", "metadata.annotations"),
        ("metadata.labels.mine", "metadata.labels"),
        ("spec.explainer", "spec"),
        ("", "other"),
        ("specification", "other"),
    ],
)
def test_which_rule_refused_is_told_by_the_field(path: str, told: str) -> None:
    metrics = Metrics()
    metrics.answered(_REVIEW, Judgement((FieldProblem(path, "FieldValueInvalid", "x"),)), 0.01)
    assert {dict(labels)["field"] for _, labels in _counted(metrics) if "field" in dict(labels)} == {told}


def test_kinds_and_fields_that_users_invent_make_no_series() -> None:
    chance, metrics = random.Random(7), Metrics()
    kinds = ("InferenceService", "ServingRuntime", "ClusterServingRuntime")
    for _ in range(20_000):
        word = "".join(chance.choices(string.ascii_letters, k=8))
        steps = [
            chance.choice(_STEPS) if chance.random() < 0.7 else word for _ in range(chance.randint(1, 5))
        ]
        problem = FieldProblem(".".join(steps), chance.choice(get_args(Reason)), word)
        kind = chance.choice(kinds) if chance.random() < 0.5 else word
        metrics.answered(replace(_REVIEW, kind=kind, name=word), Judgement((problem,)), 0.01)
    told = [dict(labels) for name, labels in _counted(metrics) if name == "stoker_webhook_problems_total"]
    assert {each["kind"] for each in told} == {*kinds, "other"}
    assert {each["field"] for each in told} <= {*FIELDS, "other"}
    assert len(told) <= 4 * 6 * (len(FIELDS) + 1)
    assert len({each["field"] for each in told}) > 8
