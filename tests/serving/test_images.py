from __future__ import annotations

import pytest

from stoker.serving.rendering.images import with_variant, with_version
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


def test_the_first_row_that_matches_counts() -> None:
    rows = (Accelerator("a.com/special", "-one"), Accelerator("a.com/*", "-two"))
    table = ImageVariants("", rows)
    assert with_variant("r:1", {"resources": {"limits": {"a.com/special": 1}}}, table) == "r:1-one"
    assert with_variant("r:1", {"resources": {"limits": {"a.com/usual": 1}}}, table) == "r:1-two"
    assert with_variant("r:1", {}, table) == "r:1"
