"""The engine that answers and why, from the pods' own words into the status."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.serving.status.backend import backend
from stoker.serving.status.judge import judge
from tests.controller import golden

Object = dict[str, Any]


def told(name: str, reason: str) -> Object:
    return {"phase": "Ready", "backend": {"name": name, "reason": reason, "message": "in words"}}


FALLBACK = told("huggingface", "ArchitectureUnsupported")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], None),
        ([{}, {"phase": "Ready", "backend": None}], None),
        ([{"backend": "vllm"}, {"backend": {"name": "vllm"}}, told("x" * 65, "Default"), told("x", 3)], None),  # type: ignore[arg-type]
        ([told("vllm", "Default")], ("vllm", "Default")),
        ([told("vllm", "Default"), FALLBACK], ("huggingface", "ArchitectureUnsupported")),
    ],
)
def test_what_pods_told(states: list[Object], expected: tuple[str, str] | None) -> None:
    assert backend(states) == (expected and {"name": expected[0], "reason": expected[1]})


def test_it_stays_while_no_pod_tells_and_changes_when_one_does() -> None:
    predictor = {"model": {"modelFormat": {"name": "huggingface"}, "args": ["--model_id=org/small"]}}
    entry = {"revision": 1, "status": "ready", "state": FALLBACK}
    given: Object = {"predictor": predictor, "history": [{"predictor": predictor, "replicas": 1}]}
    first = judge(golden.desired_of(given | {"pods": [entry]}).situation)
    assert first["backend"] == {
        "revisionName": "llm-predictor-00001",
        "name": "huggingface",
        "reason": "ArchitectureUnsupported",
    }
    for pods in ([], [{"revision": 1, "status": "ready"}]):
        again = judge(golden.desired_of(given | {"pods": pods, "status": first}).situation)
        assert again["backend"] == first["backend"]
    entry = {**entry, "state": told("vllm", "Default")}
    assert (
        judge(golden.desired_of(given | {"pods": [entry], "status": first}).situation)["backend"]["name"]
        == "vllm"
    )
