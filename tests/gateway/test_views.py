from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.snapshot import Options, build
from gateway.views import (
    keep_inference_service,
    keep_pod,
    view_inference_service,
    view_pod,
)
from tests.gateway.objects import inference_service, pod


def test_a_pod_that_ends_or_is_not_ready_takes_no_requests() -> None:
    assert [
        view.takes_requests
        for view in map(
            view_pod,
            (
                pod("a", "a-1"),
                pod("a", "a-1", ready=False),
                pod("a", "a-1", terminating=True),
                pod("a", "a-1", address=""),
            ),
        )
        if view is not None
    ] == [True, False, False, False]


@pytest.mark.parametrize(
    ("containers", "port"),
    [
        ([], 8080),
        ([{"name": "kserve-container"}], 8080),
        ([{"name": "kserve-container", "ports": [{"containerPort": 9000}]}], 9000),
        ([{"name": "c", "ports": [{"containerPort": 1}, {"containerPort": 2, "name": "http"}]}], 2),
        (
            [
                {"name": "sidecar", "ports": [{"containerPort": 1}]},
                {"name": "kserve-container", "ports": [{"containerPort": 2}]},
            ],
            2,
        ),
        (
            [
                {"name": "sidecar", "ports": [{"containerPort": 1, "name": "http"}]},
                {"name": "kserve-container", "ports": [{"containerPort": 2, "name": "grpc"}]},
            ],
            1,
        ),
        ([{"name": "c", "ports": [{"containerPort": 70000, "name": "http"}]}], 8080),
    ],
)
def test_the_port_called_http_else_the_first_else_8080(containers: list[Any], port: int) -> None:
    obj = pod("a", "a-1")
    obj["spec"]["containers"] = containers
    view = view_pod(obj)
    assert view is not None
    assert view.port == port


def test_a_pod_of_no_revision_is_none_of_ours() -> None:
    obj = pod("a", "a-1")
    del obj["metadata"]["labels"]["stoker.dev/revision"]
    assert view_pod(obj) is None


def test_what_the_caches_keep_is_enough() -> None:
    service = inference_service("a", {"a-1": 90, "a-2": 10}, timeout=30, reason="Unschedulable")
    service["spec"]["predictor"]["model"] = {"args": ["--x"] * 1000}
    kept = keep_inference_service(service)
    assert view_inference_service(kept) == view_inference_service(service)
    assert len(str(kept)) < 600
    obj = pod("a", "a-1")
    obj["spec"]["containers"][0]["env"] = [{"name": "SECRET", "value": "x" * 1000}]
    assert view_pod(keep_pod(obj)) == view_pod(obj)
    assert "x" * 1000 not in str(keep_pod(obj))


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["predictor", "timeout", "traffic", "components", "conditions", "type", "ports", "podIP"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(spec=_JUNK, status=_JUNK)
def test_fields_of_the_wrong_shape_are_no_fields(spec: Any, status: Any) -> None:
    service = inference_service("a") | {"spec": spec, "status": status}
    obj = pod("a", "a-1") | {"spec": spec, "status": status}
    snapshot = build([keep_inference_service(service)], [keep_pod(obj)], Options())
    assert snapshot.problems == ()
