"""KServe's order of runtimes, and the words for those that are passed over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stoker.serving.api.objects import (
    InferenceService,
    ServingRuntime,
    SupportedFormat,
    parse_inference_service,
)
from stoker.serving.rendering.selection import NoRuntime, select_runtime


def isvc(namespace: str = "default", **model: object) -> InferenceService:
    form = {"modelFormat": {"name": "huggingface"}} | model
    return parse_inference_service(
        {"metadata": {"name": "x", "namespace": namespace}, "spec": {"predictor": {"model": form}}}
    )


def cluster(name: str, *formats: SupportedFormat, **fields: object) -> ServingRuntime:
    supported = formats or (SupportedFormat("huggingface", auto_select=True),)
    made = ServingRuntime("cluster", name, "", supported, ({"name": "kserve-container"},), {})
    return replace(made, **fields)


def namespaced(name: str, *formats: SupportedFormat, **fields: object) -> ServingRuntime:
    return cluster(name, *formats, **({"scope": "namespaced", "namespace": "default"} | fields))


def auto(
    priority: int | None = None, version: str | None = None, name: str = "huggingface"
) -> SupportedFormat:
    return SupportedFormat(name, version, auto_select=True, priority=priority)


ORDERS = [
    ("greater priority first", [cluster("a", auto(1)), cluster("b", auto(2))], "b"),
    ("no priority last", [cluster("a"), cluster("b", auto(1))], "b"),
    ("namespace before cluster whatever the priority", [cluster("a", auto(9)), namespaced("b")], "b"),
    (
        "priority of the first entry of the name counts",
        [cluster("a", auto(1), auto(9, version="2")), cluster("b", auto(5))],
        "b",
    ),
    (
        "lower protocol first",
        [cluster("a", protocol_versions=("v2", "v1")), cluster("b", protocol_versions=("v1",))],
        "a",
    ),
    ("any protocol comes after named ones", [cluster("a"), cluster("b", protocol_versions=("v1",))], "b"),
    (
        "newest first",
        [
            cluster("a", creation_timestamp="2026-01-01T00:00:00Z"),
            cluster("b", creation_timestamp="2026-01-02T00:00:00Z"),
        ],
        "b",
    ),
    ("then by name", [cluster("b"), cluster("a")], "a"),
    ("of another namespace never", [namespaced("a", namespace="other"), cluster("b")], "b"),
    ("disabled never", [cluster("a", disabled=True), cluster("b")], "b"),
    ("several models never", [cluster("a", multi_model=True), cluster("b")], "b"),
    ("several nodes never", [cluster("a", multi_node=True), cluster("b")], "b"),
    (
        "without autoSelect never",
        [cluster("a", SupportedFormat("huggingface", priority=9)), cluster("b")],
        "b",
    ),
]


@pytest.mark.parametrize(("runtimes", "first"), [row[1:] for row in ORDERS], ids=[row[0] for row in ORDERS])
def test_order(runtimes: list[ServingRuntime], first: str) -> None:
    for each in (runtimes, runtimes[::-1]):
        selection = select_runtime(isvc(), each)
        assert selection.runtime is not None
        assert selection.runtime.name == first


def test_versions_are_compared_as_strings() -> None:
    one = cluster("one", auto(version="1"))
    wanted = {"name": "huggingface", "version": "1"}
    assert select_runtime(isvc(modelFormat=wanted), [one]).runtime is one
    assert select_runtime(isvc(), [one]).runtime is one  # none asked for: any entry of the name
    with pytest.raises(NoRuntime, match=r"in version 1, not 1\.0"):
        select_runtime(isvc(modelFormat={"name": "huggingface", "version": "1.0"}), [one])


def test_protocol_is_the_first_where_none_is_asked_for() -> None:
    second = cluster("second", protocol_versions=("v2",))
    with pytest.raises(NoRuntime, match="speaks protocols v2, not v1"):
        select_runtime(isvc(), [second])
    assert select_runtime(isvc(protocolVersion="v2"), [second]).runtime is second


@pytest.mark.parametrize(("kind", "protocol"), [("huggingface", "v2"), ("triton", "v2"), ("sklearn", "v1")])
def test_legacy_fields_have_their_own_protocol(kind: str, protocol: str) -> None:
    parsed = parse_inference_service({"metadata": {"name": "x"}, "spec": {"predictor": {kind: {}}}})
    assert parsed.predictor.model is not None
    assert (parsed.predictor.model.format.name, parsed.predictor.model.protocol) == (kind, protocol)


def test_a_named_runtime_of_the_namespace_hides_the_clusters() -> None:
    mine = namespaced("same", SupportedFormat("huggingface"))
    assert select_runtime(isvc(runtime="same"), [cluster("same"), mine]).runtime is mine
    assert select_runtime(isvc(namespace="other", runtime="same"), [mine, cluster("same")]).runtime != mine


@pytest.mark.parametrize(
    ("runtime", "reason", "words"),
    [
        (cluster("b"), "RuntimeNotRecognized", 'is called "a": there is "b"'),
        (cluster("a", disabled=True), "RuntimeDisabled", "it is disabled"),
        (cluster("a", auto(name="onnx")), "NoSupportingRuntime", "it supports onnx, not huggingface"),
        (
            cluster("a", protocol_versions=("grpc-v2",)),
            "NoSupportingRuntime",
            "speaks protocols grpc-v2, not v1",
        ),
    ],
)
def test_a_named_runtime_that_cannot_serve(runtime: ServingRuntime, reason: str, words: str) -> None:
    with pytest.raises(NoRuntime, match=words) as caught:
        select_runtime(isvc(runtime="a"), [runtime])
    assert caught.value.reason == reason


def test_a_failed_selection_names_every_candidate_and_why() -> None:
    runtimes = [
        namespaced("off", disabled=True),
        cluster("other", auto(name="onnx")),
        cluster("manual", SupportedFormat("huggingface")),
    ]
    with pytest.raises(NoRuntime) as caught:
        select_runtime(isvc(), runtimes)
    assert caught.value.reason == "NoSupportingRuntime"
    assert [(each.name, each.scope) for each in caught.value.considered] == [
        ("off", "namespaced"),
        ("other", "cluster"),
        ("manual", "cluster"),
    ]
    for words in (
        "ServingRuntime off: it is disabled",
        "other: it supports onnx",
        "manual: it supports the format",
    ):
        assert words in caught.value.message


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("hugingface", '(did you mean "huggingface"?)'),
        ("HuggingFace", '"huggingface"'),
        ("pmml", "format pmml w"),
    ],
)
def test_a_format_that_nobody_knows_comes_with_the_nearest_one(name: str, hint: str) -> None:
    with pytest.raises(NoRuntime) as caught:
        select_runtime(isvc(modelFormat={"name": name}), [cluster("a"), cluster("b", auto(name="onnx"))])
    assert hint in caught.value.message
    assert ("did you mean" in caught.value.detail) is (name != "pmml")


def test_a_long_list_of_candidates_is_cut_in_the_message_only() -> None:
    with pytest.raises(NoRuntime, match="and 480 more") as caught:
        select_runtime(isvc(), [cluster(f"r{n}", auto(name="onnx")) for n in range(500)])
    assert len(caught.value.considered) == 500


def test_containers_of_ones_own_need_no_runtime() -> None:
    parsed = parse_inference_service(
        {"metadata": {"name": "x"}, "spec": {"predictor": {"containers": [{"image": "a"}]}}}
    )
    assert select_runtime(parsed, []).runtime is None
