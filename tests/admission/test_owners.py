"""A problem at a field that nobody wrote in the predictor says whose value stands there, and is told once."""

from __future__ import annotations

import copy
from typing import Any

from stoker.serving.admission.validate import validate_inference_service
from stoker.serving.api.objects import parse_runtime
from stoker.serving.problems import FieldProblem
from stoker.serving.settings import Settings
from tests.admission.table.objects import Object, isvc, model, own
from tests.serving import golden

_P, _M = "spec.predictor", "spec.predictor.model"
_SHIPPED = golden.shipped_runtime()
_IMAGE = "registry.example.com/mine:1"


def judge(obj: Object, **spec: Any) -> dict[str, FieldProblem]:
    """The problems by field; `spec`: over the shipped runtime's."""
    document = copy.deepcopy(_SHIPPED)
    document["spec"] |= spec
    runtime = parse_runtime(document)
    found = validate_inference_service(obj, None, [runtime], Settings()).problems
    assert len({each.field for each in found}) == len(found), found
    return {each.field: each for each in found}


def test_a_probe_of_the_runtime_that_asks_a_port_which_the_user_called_otherwise() -> None:
    found = judge(model(ports=[{"containerPort": 8080, "name": "mine"}]))
    assert set(found) == {f"{_M}.{name}.httpGet.port" for name in _PROBES}
    ending = "; runtime kserve-huggingfaceserver sets it"
    assert all(each.message.endswith(ending) for each in found.values())


_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def test_a_probe_of_the_users_own_is_nobody_elses() -> None:
    probe = {"httpGet": {"port": "nowhere"}, "tcpSocket": None, "exec": None, "grpc": None}
    found = judge(model(startupProbe=probe))
    assert set(found) == {f"{_M}.startupProbe.httpGet.port"}
    assert "sets it" not in found[f"{_M}.startupProbe.httpGet.port"].message


def test_a_volume_of_the_runtime_that_kubernetes_would_refuse() -> None:
    found = judge(isvc(volumes=[{"name": "data", "emptyDir": {}}]), volumes=_beside("Data"))
    (problem,) = found.values()
    assert problem.field == f"{_P}.volumes.Data.name"
    assert problem.message.endswith("; runtime kserve-huggingfaceserver sets it")


def test_of_two_volumes_of_one_name_the_users_second_is_named_where_it_stands() -> None:
    given = [{"name": "a", "emptyDir": {}}] * 3
    found = judge(isvc(volumes=given), volumes=_beside("z"))
    assert set(found) == {f"{_P}.volumes[{number}].name" for number in (1, 2)}
    assert all("Duplicate" in each.message and "sets it" not in each.message for each in found.values())


def test_an_end_too_soon_for_the_sleep_that_somebody_wrote() -> None:
    hook = {"postStart": {"sleep": {"seconds": 100_000}}}
    found = judge(own(lifecycle=hook))
    (problem,) = found.values()
    assert problem.field == f"{_P}.terminationGracePeriodSeconds"
    assert problem.message.endswith("; it is Stoker's default")


def test_what_is_missing_in_what_the_user_wrote_is_the_users() -> None:
    found = judge(isvc(volumes=[{"name": "a", "configMap": {}}], tolerations=[]))
    assert found
    assert not any("sets it" in each.message or "default" in each.message for each in found.values())


def test_what_another_field_of_the_users_asks_for_is_nobodys_default() -> None:
    (problem,) = judge(isvc(dnsPolicy="None")).values()
    assert problem.field == f"{_P}.dnsConfig.nameservers"
    assert "default" not in problem.message


def test_a_variable_that_the_init_container_gets_too_is_told_of_once() -> None:
    wrong = {"name": "AWS_REGION", "valueFrom": {"fieldRef": {"fieldPath": "nowhere"}}}
    found = judge(model(args=None, image=_IMAGE, storageUri="s3://bucket/model", env=[wrong]))
    assert set(found) == {f"{_M}.env[0].valueFrom.fieldRef.fieldPath"}


def test_volumes_that_stoker_adds_have_their_names_to_themselves() -> None:
    given = [{"name": "kserve-pvc-source", "emptyDir": {}}]
    found = judge(isvc(model={"args": None, "storageUri": "pvc://claim/model"}, volumes=given))
    assert set(found) == {f"{_P}.volumes[0].name"}
    assert "Stoker adds a volume of this name" in found[f"{_P}.volumes[0].name"].message
    assert judge(isvc(model={"args": None, "storageUri": "hf://a/b"}, volumes=given)) == {}


def test_labels_are_judged_as_they_are_filled_in() -> None:
    team = {"team": "{{.Annotations.team}}"}
    found = judge(_labelled(team, {"team": "two words"}))
    assert set(found) == {f"{_P}.labels.team"}
    assert '"two words"' in found[f"{_P}.labels.team"].message
    assert judge(_labelled(team, {"team": "one"})) == {}
    # What a value brings is not read again: it is no label, however much it looks like a placeholder.
    assert set(judge(_labelled(team, {"team": "{{.Name}}"}))) == {f"{_P}.labels.team"}
    # Nothing stands there: that is what is wrong, and nothing else.
    assert set(judge(_labelled({"team": "a-{{.Annotations.team}}"}))) == {"metadata.annotations.team"}


def test_a_label_of_the_runtime_that_the_user_fills_says_so() -> None:
    found = judge(isvc(annotations={"team": "two words"}), labels={"team": "{{.Annotations.team}}"})
    (problem,) = found.values()
    assert problem.message.endswith("; runtime kserve-huggingfaceserver sets it")


def _beside(name: str) -> list[Object]:
    """The shipped runtime's volumes and one more."""
    return [{"name": name, "emptyDir": {}}, *_SHIPPED["spec"]["volumes"]]


def _labelled(labels: Object, annotations: Object | None = None) -> Object:
    """With labels for pods; `labels` of the table's objects are the InferenceService's own."""
    made = isvc(annotations=annotations)
    made["spec"]["predictor"]["labels"] = labels
    return made
