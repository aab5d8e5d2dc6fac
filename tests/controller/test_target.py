"""Which revision a spec asks for, across releases."""

from __future__ import annotations

from typing import Any

from controller.caches import View
from controller.target import find_target
from stoker.kube.resource import CONTROLLER_REVISIONS
from stoker.serving.api.objects import parse_inference_service
from stoker.serving.settings import Settings
from tests.controller.golden import view_of

PREDICTOR: dict[str, Any] = {
    "model": {
        "modelFormat": {"name": "huggingface"},
        "resources": {"requests": {"cpu": "1", "memory": "3Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}},
    }
}


def a_view(predictor: dict[str, Any]) -> View:
    return view_of(
        {"predictor": predictor, "history": [{"predictor": PREDICTOR, "replicas": 1}]}, Settings()
    )[0]


def target(view: View) -> tuple[str, bool]:
    found = find_target(view, parse_inference_service(view.obj), None, Settings())
    assert found.revision is not None
    return found.revision.name, found.is_new


def test_the_same_quantities_written_otherwise_are_the_same() -> None:
    model = {
        **PREDICTOR["model"],
        "resources": {**PREDICTOR["model"]["resources"], "requests": {"cpu": "1000m", "memory": "3072Mi"}},
    }
    assert target(a_view({"model": model, "minReplicas": 3})) == ("llm-predictor-00001", False)


def test_another_field_is_another_revision() -> None:
    assert target(a_view({**PREDICTOR, "nodeSelector": {"a": "b"}})) == ("llm-predictor-00002", True)


def test_what_an_earlier_release_stored_is_read_with_todays_rules() -> None:
    """An earlier release counted minReplicas among the inputs and kept quantities as written."""
    view = a_view(PREDICTOR)
    stored = view.children[CONTROLLER_REVISIONS]["llm-predictor-00001"]["data"]["inputs"]["predictor"]
    stored["minReplicas"] = 1
    stored["model"]["resources"]["requests"]["cpu"] = "1000m"
    assert target(view) == ("llm-predictor-00001", False)
