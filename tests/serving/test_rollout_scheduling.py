"""The scheduler's words, and who holds what is missing."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from stoker.serving.rollouts.scheduling import frees_enough, insufficient, pod_requests


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.", {"cpu", "memory"}),
        ("0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) had untolerated taint {x: y}. "
         "preemption: 0/3 nodes are available: 1 Insufficient ephemeral-storage.", {"nvidia.com/gpu"}),
        ("0/1 nodes are available: 1 Too many pods.", {"pods"}),
        ("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.", set()),
        ("", set()),
    ],
)  # fmt: skip
def test_what_is_insufficient(message: str, expected: set[str]) -> None:
    assert insufficient(message) == expected


@pytest.mark.parametrize(
    ("message", "wanted", "held", "expected"),
    [
        ("1 Insufficient nvidia.com/gpu", {"nvidia.com/gpu": 1}, {"nvidia.com/gpu": 1}, True),
        ("1 Insufficient nvidia.com/gpu", {"nvidia.com/gpu": 2}, {"nvidia.com/gpu": 1}, False),
        ("1 Insufficient nvidia.com/gpu", {"nvidia.com/gpu": 1}, {"cpu": 64}, False),
        (
            "1 Insufficient cpu, 1 Insufficient memory",
            {"cpu": 1, "memory": 9},
            {"cpu": 1, "memory": 8},
            False,
        ),
        ("1 Insufficient cpu", {"memory": 1}, {"cpu": 8}, False),
        ("1 Too many pods", {}, {}, True),
        ("1 node(s) had untolerated taint", {}, {"cpu": 8}, False),
    ],
)
def test_whether_the_old_pods_end_makes_room(
    message: str, wanted: dict[str, int], held: dict[str, int], expected: bool
) -> None:
    read = [{name: Decimal(value) for name, value in each.items()} for each in (wanted, held)]
    assert frees_enough(message, *read) is expected


def container(cpu: str | None = None, limit: str | None = None, **more: Any) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    if cpu:
        resources["requests"] = {"cpu": cpu}
    if limit:
        resources["limits"] = {"cpu": limit}
    return {"resources": resources, **more}


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        ({"containers": [container("500m"), container("1")]}, "1.5"),
        ({"containers": [container(limit="2")]}, "2"),
        ({"containers": [container("1", "2")]}, "1"),
        ({"containers": [container("1")], "initContainers": [container("3")]}, "3"),
        ({"containers": [container("1")], "initContainers": [container("2", restartPolicy="Always")]}, "3"),
        ({"containers": [container("1")],
          "initContainers": [container("2", restartPolicy="Always"), container("5")]}, "7"),
        ({"containers": [container("1")], "resources": {"requests": {"cpu": "8"}}}, "8"),
        ({"containers": [container("a lot")]}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_what_a_pod_asks_for(spec: dict[str, Any], cpu: str | None) -> None:
    assert pod_requests(spec).get("cpu") == (Decimal(cpu) if cpu else None)
