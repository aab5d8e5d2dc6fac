"""docs/monitoring.md: what it tells people to write works, and its pictures are there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.monitoring import listing
from stoker.serving.api.runtimes import parse_runtime

from . import page

_PAGE = page.ROOT / "docs/monitoring.md"
_BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", _PAGE.read_text(), re.MULTILINE | re.DOTALL)


def _block(words: str) -> str:
    (found,) = [block for block in _BLOCKS if words in block]
    return str(found)


def test_the_overlay_builds_and_the_operator_reads_it(kubectl_path: Path, tmp_path: Path) -> None:
    up = "/".join([".."] * len(tmp_path.resolve().parts[1:])) + f"{page.ROOT}/manifests"
    text = _block("components: [manifests/monitoring]").replace("[manifests", f"[{up}")
    (tmp_path / "kustomization.yaml").write_text(text)
    done = subprocess.run(
        [kubectl_path, "kustomize", tmp_path], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    operators = [
        each for each in yaml.safe_load_all(done.stdout) if each["apiVersion"].startswith("monitoring.")
    ]
    assert {each["kind"] for each in operators} == {"PodMonitor", "PrometheusRule"}
    for each in operators:
        assert each["metadata"]["labels"]["release"] == "kube-prometheus-stack"


def test_the_runtime_gives_its_annotations_to_pods() -> None:
    runtime: dict[str, Any] = yaml.safe_load(_block("kind: ServingRuntime"))
    assert parse_runtime(runtime).pod_annotations["prometheus.io/port"] == "9000"


@pytest.mark.parametrize("block", _BLOCKS)
def test_each_block_is_yaml(block: str) -> None:
    assert yaml.safe_load(block)


def test_every_dashboard_has_its_picture() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", _PAGE.read_text())
    assert {Path(each).stem for each in shown} == {panel.dashboard for panel in listing.panels()}
    for each in shown:
        picture = _PAGE.parent / each
        assert picture.read_bytes().startswith(b"\x89PNG"), each
        assert picture.stat().st_size < 300_000, each
