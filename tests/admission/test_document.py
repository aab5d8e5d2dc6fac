"""docs/admission.md, manifests/policy and the code say the same."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from stoker.serving.admission import baseline, security
from stoker.serving.api.fields import LEGACY_FORMATS
from tests.admission import document

_POLICY = Path(__file__).parents[2] / "manifests" / "policy" / "policy.yaml"


def test_the_page_is_written_from_the_table() -> None:
    again = "`python -m tests.admission.document --write` writes it anew"
    assert document.written(document.FILE.read_text()) == document.FILE.read_text(), again


def test_the_policy_has_the_lists_of_the_code() -> None:
    spec = yaml.safe_load(_POLICY.read_text())["spec"]
    listed = {each["name"]: set(re.findall(r"'([^']*)'", each["expression"])) for each in spec["variables"]}
    assert listed["dangerousFlags"] == {name.replace("_", "-") for name in security.FLAGS}
    assert listed["dangerousVariables"] == security.ENV
    assert listed["capabilities"] == baseline.CAPABILITIES
    assert listed["sysctls"] == baseline.SYSCTLS
    assert listed["seLinuxTypes"] == baseline.SELINUX_TYPES
    assert listed["modelFields"] == {"InferenceService", "model", *LEGACY_FORMATS}


def test_the_policy_fails_closed_and_spares_what_is_being_deleted() -> None:
    spec = yaml.safe_load(_POLICY.read_text())["spec"]
    assert spec["failurePolicy"] == "Fail"
    assert "deletionTimestamp" in spec["matchConditions"][0]["expression"]
