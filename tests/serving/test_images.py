from __future__ import annotations

import pytest

from stoker.serving.api.objects import parse_runtime
from stoker.serving.rendering.images import (
    unbuilt,
    with_build,
    with_kserve_build,
    with_variant,
    with_version,
)
from stoker.serving.settings import Accelerator, ImageVariants


@pytest.mark.parametrize(
    ("image", "changed"),
    [
        ("runtime:1", "runtime:2"),
        ("runtime", "runtime:2"),
        ("host:5000/a/runtime", "host:5000/a/runtime:2"),
        ("host:5000/a/runtime:1", "host:5000/a/runtime:2"),
        ("runtime@sha256:ab", "runtime@sha256:ab"),
        ("runtime:1@sha256:ab", "runtime:1@sha256:ab"),
    ],
)
def test_version(image: str, changed: str) -> None:
    assert with_version(image, "2") == changed


@pytest.mark.parametrize(
    ("image", "limits", "chosen"),
    [
        ("runtime:1", {}, "runtime:1-cpu"),
        ("runtime:1", {"cpu": "1"}, "runtime:1-cpu"),
        ("runtime:1", {"nvidia.com/gpu": "1"}, "runtime:1-cuda"),
        ("runtime:1", {"nvidia.com/gpu": 0}, "runtime:1-cpu"),
        ("runtime:1", {"nvidia.com/gpu": "0"}, "runtime:1-cpu"),
        ("runtime:1", {"nvidia.com/mig-1g.5gb": 1}, "runtime:1-cuda"),
        ("runtime:1", {"example.com/other": 1}, "runtime:1-cpu"),
        ("host:5000/runtime:1", {}, "host:5000/runtime:1-cpu"),
        ("host:5000/runtime", {}, "host:5000/runtime"),
        ("runtime:1-cuda", {}, "runtime:1-cuda"),
        ("runtime@sha256:ab", {}, "runtime@sha256:ab"),
    ],
)
def test_variant(image: str, limits: dict[str, object], chosen: str) -> None:
    assert with_variant(image, {"resources": {"limits": limits}}, ImageVariants()) == chosen


KSERVE = [
    # As in KServe's own table (utils_test.go, TestUpdateImageTag), without its runtimeVersion cases.
    ("huggingfaceserver", "kserve/hf:v1", {"nvidia.com/gpu": 1}, "kserve/hf:v1-gpu"),
    ("huggingfaceserver", "kserve/hf:v1", {"nvidia.com/mig-3g.20gb": 1}, "kserve/hf:v1-gpu"),
    ("huggingfaceserver", "kserve/hf:v1-gpu", {"nvidia.com/gpu": 1}, "kserve/hf:v1-gpu"),
    ("huggingfaceserver", "kserve/hf:v1", {"cpu": 1}, "kserve/hf:v1"),
    ("huggingfaceserver", "kserve/hf", {"nvidia.com/gpu": 1}, "kserve/hf"),
    ("huggingfaceserver", "kserve/hf@sha256:ab", {"nvidia.com/gpu": 1}, "kserve/hf@sha256:ab"),
    ("tfserving", "h:5000/tf:2", {"nvidia.com/gpu": 1}, "h:5000/tf:2-gpu"),
    ("torchserve", "ts:2", {"nvidia.com/gpu": 1}, "ts:2-gpu"),
    ("vllmserver", "vllm/vllm-openai:v1", {"nvidia.com/gpu": 1}, "vllm/vllm-openai:v1"),
    ("vllmserver", "vllm/vllm-openai:v1", {}, "vllm/vllm-openai-cpu:v1"),
    ("vllmserver", "vllm/vllm-openai-cpu:v1", {}, "vllm/vllm-openai-cpu:v1"),
    ("vllmserver", "vllm/vllm-openai", {}, "vllm/vllm-openai"),
    ("other", "x:1", {"nvidia.com/gpu": 1}, "x:1"),
    # Where KServe knows NVIDIA alone: another vendor's device is no reason for the build for CPUs.
    ("vllmserver", "vllm/vllm-openai:v1", {"amd.com/gpu": 1}, "vllm/vllm-openai:v1"),
    ("huggingfaceserver", "kserve/hf:v1", {"amd.com/gpu": 1}, "kserve/hf:v1"),
]


@pytest.mark.parametrize(("kind", "image", "limits", "chosen"), KSERVE)
def test_builds_of_kserves_images(kind: str, image: str, limits: dict[str, object], chosen: str) -> None:
    assert with_kserve_build(image, {"resources": {"limits": limits}}, kind, ImageVariants()) == chosen


@pytest.mark.parametrize(
    ("runtime", "chosen"),
    [
        ({"name": "kserve-huggingfaceserver"}, "r:1-gpu"),
        ({"name": "kserve-vllmserver"}, "r:1"),
        ({"name": "any", "annotations": {"serving.kserve.io/server-type": "torchserve"}}, "r:1-gpu"),
        ({"name": "kserve-torchserve", "annotations": {"serving.kserve.io/server-type": "mine"}}, "r:1"),
        ({"name": "kserve-torchserve", "annotations": {"stoker.dev/image-variants": "true"}}, "r:1-cuda"),
    ],
)
def test_which_rule_a_runtime_follows(runtime: dict[str, object], chosen: str) -> None:
    parsed = parse_runtime({"kind": "ClusterServingRuntime", "metadata": runtime, "spec": {"containers": []}})
    container = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
    assert with_build("r:1", container, parsed, ImageVariants()) == chosen


def test_a_device_without_build_is_named() -> None:
    asking = {"resources": {"limits": {"amd.com/gpu": 1, "nvidia.com/gpu": 1, "example.com/npu": 1}}}
    assert unbuilt([asking], ImageVariants()) == ["amd.com/gpu"]
    assert with_variant("r:1", asking, ImageVariants()) == "r:1"
    mapped = ImageVariants("-cpu", (Accelerator("amd.com/*", "-rocm"),))
    assert unbuilt([asking], mapped) == []
    assert with_variant("r:1", asking, mapped) == "r:1-rocm"


def test_the_first_row_that_matches_counts() -> None:
    rows = (Accelerator("a.com/special", "-one"), Accelerator("a.com/*", "-two"))
    table = ImageVariants("", rows)
    assert with_variant("r:1", {"resources": {"limits": {"a.com/special": 1}}}, table) == "r:1-one"
    assert with_variant("r:1", {"resources": {"limits": {"a.com/usual": 1}}}, table) == "r:1-two"
    assert with_variant("r:1", {}, table) == "r:1"
