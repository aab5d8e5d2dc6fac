"""How generic tools read an InferenceService: kstatus's published rules, applied to judged statuses.

The rules (cli-utils, pkg/kstatus/status): under deletion is Terminating; a generation that was not observed
is InProgress; Reconciling=True is InProgress; Stalled=True is Failed; all else is Current.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from stoker.serving.status.judge import judge
from tests.controller import golden


def kstatus(obj: dict[str, Any]) -> str:
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    status = obj.get("status") or {}
    if "observedGeneration" in status and status["observedGeneration"] != obj["metadata"]["generation"]:
        return "InProgress"
    for condition in status.get("conditions") or []:
        if condition["status"] == "True" and condition["type"] in ("Reconciling", "Stalled"):
            return "InProgress" if condition["type"] == "Reconciling" else "Failed"
    return "Current"


def judged(case: str) -> dict[str, Any]:
    given = yaml.safe_load((golden.FOLDER / f"{case}.input.yaml").read_text())
    obj = golden.service(given["predictor"], given.get("generation", 1))
    return obj | {"status": judge(golden.desired_of(given).situation)}


@pytest.mark.parametrize("case", golden.CASES)
def test_done_is_what_is_ready_and_nothing_else(case: str) -> None:
    obj = judged(case)
    [ready] = [each for each in obj["status"]["conditions"] if each["type"] == "Ready"]
    assert (kstatus(obj) == "Current") == (ready["status"] == "True")
    generic = [each for each in obj["status"]["conditions"] if each["type"] in ("Reconciling", "Stalled")]
    assert len(generic) == (ready["status"] != "True")
    assert all(each["status"] == "True" for each in generic), "abnormal conditions are there while true"


@pytest.mark.parametrize(
    ("case", "read"),
    [
        ("ready", "Current"),
        ("new-service", "InProgress"),
        ("weights-loading", "InProgress"),
        ("update-loading", "InProgress"),
        ("seed-on-a-small-node", "InProgress"),  # a node may come
        ("gateway-away", "InProgress"),  # it comes back by itself
        ("deadline-passed", "Failed"),
        ("out-of-memory", "Failed"),
        ("image-unknown", "Failed"),
        ("runtime-unknown", "Failed"),
        ("spec-broken-while-serving", "Failed"),
    ],
)
def test_what_it_reads(case: str, read: str) -> None:
    assert kstatus(judged(case)) == read


def test_a_new_generation_is_in_progress_until_it_was_judged() -> None:
    obj = judged("ready")
    obj["metadata"]["generation"] += 1
    assert kstatus(obj) == "InProgress"
