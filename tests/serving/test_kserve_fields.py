"""What the table of fields says comes of each is what comes of it: at the CRD, at admission, in the pod."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.serving.admission.validate import Verdict, validate_inference_service
from stoker.serving.api import fields
from stoker.serving.api.fields import Field
from stoker.serving.api.metadata import METADATA
from stoker.serving.api.objects import parse_inference_service, parse_runtime
from stoker.serving.rendering.render import render
from stoker.serving.rendering.selection import select_runtime
from stoker.serving.settings import Settings
from tests.serving import field_samples as samples
from tests.serving import golden
from tests.serving.test_crds import Kubectl, dry_run, kubectl  # noqa: F401 - a fixture

RUNTIMES = [
    parse_runtime(golden.shipped_runtime()),
    *(
        parse_runtime(
            {
                "kind": "ClusterServingRuntime",
                "metadata": {"name": name},
                "spec": {
                    "supportedModelFormats": [{"name": name, "autoSelect": True}],
                    "containers": [{"name": "kserve-container", "image": "r:1"}],
                },
            }
        )
        for name in fields.LEGACY_FORMATS
        if name != "huggingface"
    ),
]
SERVES = {"modelFormat": {"name": "huggingface"}, "args": ["--model_id=org/model"]}
LEGACY: dict[str, Any] = {name: {"args": ["--model_id=org/model"]} for name in fields.LEGACY_FORMATS}
# Where a field stands, the rows of its table, and a value for each.
PLACES: list[tuple[str, Any, dict[str, Any]]] = [
    ("spec", fields.SPEC, samples.SPEC | {"predictor": {"model": SERVES}}),
    ("spec.predictor", fields.PREDICTOR, samples.PREDICTOR | LEGACY),
    ("spec.predictor", fields.EXTENSION, samples.EXTENSION),
    ("spec.predictor", fields.POD, samples.POD),
    ("spec.predictor.model", fields.MODEL, samples.MODEL),
    ("spec.predictor.model", fields.CONTAINER, samples.CONTAINER),
]
CASES = [(place, row, values[row.name]) for place, table, values in PLACES for row in table.values()]
IDS = [f"{place}.{row.name}" for place, row, _ in CASES]


def isvc(place: str, name: str, value: Any) -> dict[str, Any]:
    model, predictor, spec = dict(SERVES), {}, {}
    {"spec": spec, "spec.predictor": predictor, "spec.predictor.model": model}[place][name] = value
    if name not in fields.LEGACY_FORMATS and name != "model":
        predictor["model"] = model
    if name == "storageUri":
        del model["args"]  # they name the model too
    if name == "restartPolicyRules":
        model["restartPolicy"] = "Always"  # the API server asks for it where there are rules
    if name == "volumeDevices":
        claim = {"claimName": "weights"}
        predictor["volumes"] = [{"name": "weights", "persistentVolumeClaim": claim}]
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "fields", "namespace": "default"},
        "spec": {"predictor": predictor} | spec,
    }


def judge(obj: dict[str, Any]) -> Verdict:
    # What only a trusted namespace may do is supported too.
    config = Settings(security="trusted")
    return validate_inference_service(obj, None, RUNTIMES, config, args_schemas=golden.args_schemas())


def fate_of(verdict: Verdict, path: str) -> str:
    if any(problem.field == path and "Unsupported field" in problem.message for problem in verdict.problems):
        return "refused"
    return "warned" if any(each.startswith(f"{path}: ") for each in verdict.warnings) else "supported"


def test_there_is_a_value_for_every_row_and_a_row_for_every_value() -> None:
    for place, table, values in PLACES:
        assert set(table) == set(values), place
    assert not set(fields.POD) & set(fields.EXTENSION)


@pytest.mark.parametrize(("place", "row", "value"), CASES, ids=IDS)
def test_admission_does_what_the_table_says(place: str, row: Field, value: Any) -> None:
    verdict = judge(isvc(place, row.name, value))
    path = f"{place}.{row.name}"
    assert fate_of(verdict, path) == row.fate, verdict
    # Nothing else is wrong with the sample, so a supported field is allowed and a warned one too.
    assert verdict.allowed is (row.fate != "refused"), verdict
    said = [str(problem) for problem in verdict.problems] + list(verdict.warnings)
    assert row.fate == "supported" or any(row.note in each for each in said)


@pytest.mark.parametrize(
    ("place", "row"),
    [(place, row) for place, row, _ in CASES if row.only],
    ids=[row.name for _, row, _ in CASES if row.only],
)
def test_values_that_a_row_is_not_about_are_allowed_without_a_word(place: str, row: Field) -> None:
    obj = isvc(place, row.name, samples.HARMLESS[row.name])
    verdict = judge(obj)
    assert verdict == Verdict()


@pytest.mark.parametrize("row", METADATA, ids=[row.name for row in METADATA])
def test_labels_and_annotations_are_judged_as_the_table_says(row: Field) -> None:
    key = row.name.replace("*", "x")
    for where in ("labels", "annotations"):
        obj = isvc("spec.predictor.model", "args", SERVES["args"])
        obj["metadata"][where] = {key: samples.METADATA.get(row.name, "true")}
        assert fate_of(judge(obj), f"metadata.{where}[{key}]") == row.fate
        if row.only:
            obj["metadata"][where] = {key: samples.HARMLESS[row.name]}
            assert judge(obj) == Verdict()


def test_the_rolling_of_pods_asks_for_none_of_these() -> None:
    obj = isvc("spec.predictor.model", "args", SERVES["args"])
    before = template(obj)
    obj["metadata"]["annotations"] = {
        "serving.kserve.io/autoscalerClass": "keda",
        "prometheus.io/scrape": "true",
    }
    assert template(obj) == before


def template(obj: dict[str, Any]) -> dict[str, Any]:
    parsed = parse_inference_service(obj)
    return render(parsed, select_runtime(parsed, RUNTIMES).runtime, Settings()).template


@pytest.mark.apiserver
def test_the_schema_keeps_every_field_whole(kubectl: Kubectl) -> None:  # noqa: F811
    given = [isvc(place, row.name, value) for place, row, value in CASES]
    for number, obj in enumerate(given):
        obj["metadata"] = {"name": f"field-{number}"}
    stored = dry_run(kubectl, given)
    assert [each["spec"] for each in stored] == [each["spec"] for each in given]


@pytest.mark.apiserver
def test_a_supported_field_reaches_a_pod_that_the_api_server_takes(kubectl: Kubectl) -> None:  # noqa: F811
    given = []
    for place, row, value in CASES:
        if row.fate == "refused" or row.name not in {**samples.POD, **samples.CONTAINER}:
            continue
        spec = template(isvc(place, row.name, value))["spec"]
        holder = spec if place == "spec.predictor" else spec["containers"][0]
        if row.name != "name":
            assert contains(holder[row.name], value), (row.name, holder[row.name])
        labels = {"component": "predictor"}
        given.append(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": f"field-{len(given)}"},
                "spec": {
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": spec},
                },
            }
        )
    assert len(dry_run(kubectl, given, restricted=False)) == len(given) > 50


def contains(made: Any, value: Any) -> bool:
    """Whether a value that was written is in what was made of it; lists may hold more."""
    if isinstance(value, dict):
        return all(name in made and contains(made[name], each) for name, each in value.items())
    if isinstance(value, list):
        return all(any(contains(other, each) for other in made) for each in value)
    return bool(made == value)
