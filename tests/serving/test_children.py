"""Children of an InferenceService; their whole shape is in tests/controller/golden/new-service."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.serving.rollouts.children import target_port

PORT = {"containerPort": 9000}


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        ([{"name": "kserve-container", "ports": [{"name": "http", "containerPort": 8080}]}], "http"),
        ([{"name": "kserve-container", "ports": [PORT]}], 9000),
        (
            [
                {"name": "sidecar", "ports": [{"containerPort": 1}]},
                {"name": "kserve-container", "ports": [PORT]},
            ],
            9000,
        ),
        (
            [{"name": "kserve-container", "ports": [PORT]}, {"name": "proxy", "ports": [{"name": "http"}]}],
            "http",
        ),
        ([{"name": "kserve-container"}], 8080),
    ],
)
def test_where_requests_go(containers: list[dict[str, Any]], expected: str | int) -> None:
    assert target_port({"spec": {"containers": containers}}) == expected
