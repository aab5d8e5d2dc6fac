"""The schema of pods is what the API server says of itself."""

from __future__ import annotations

import jsonschema
import pytest

from stoker.local.control_plane import ApiServer
from stoker.serving.admission import pod_rules, pod_schema
from stoker.serving.api.shapes import CONTAINER_FIELDS, POD_FIELDS
from tests.admission import kubernetes_schema


@pytest.mark.apiserver
def test_the_file_is_as_the_api_server_has_it(api_server: ApiServer) -> None:
    openapi = kubernetes_schema.asked(api_server)
    written = kubernetes_schema.trimmed(openapi, openapi["info"]["version"])
    again = "`python -m tests.admission.kubernetes_schema --write` writes it anew"
    assert kubernetes_schema.FILE.read_text() == written, again


def test_the_file_is_a_schema_that_others_can_read() -> None:
    jsonschema.Draft202012Validator.check_schema(kubernetes_schema.read())
    judge = jsonschema.Draft202012Validator(kubernetes_schema.read())
    good = {"containers": [{"name": "a", "image": "a"}]}
    assert judge.is_valid(good)
    assert not judge.is_valid(good | {"hostnetwork": True})


def test_rules_and_merging_go_by_fields_that_exist() -> None:
    document = kubernetes_schema.read()["$defs"]
    assert set(pod_rules.RULES) <= set(document)
    assert set(document["PodSpec"]["properties"]) >= POD_FIELDS
    assert set(document["Container"]["properties"]) == CONTAINER_FIELDS
    assert pod_schema.definition("Probe").name == "Probe"
