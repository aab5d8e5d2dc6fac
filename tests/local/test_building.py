"""Building the programs, with a stand-in for Go that writes what a build would."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stoker.local import building, programs
from stoker.local.failures import LocalError
from stoker.local.progress import Progress

RELEASE = programs.KUBERNETES_RELEASE
GO = f"""#!/bin/sh
case "$1" in
env) echo go1.99.0 ;;
list) printf 'a\\nb\\nc\\n' ;;
build)
    echo "$CGO_ENABLED $GOTOOLCHAIN $*" >> "$STOKER_CACHE/asked"
    echo a >&2; echo b >&2
    [ -z "$BREAK" ] || {{ echo "b.go:1: undefined: x" >&2; exit 1; }}
    while [ "$1" != -o ]; do shift; done
    printf '#!/bin/sh\\necho v{RELEASE}\\n' > "$2"; chmod +x "$2" ;;
esac
"""


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    (tmp_path / "path").mkdir()
    go = tmp_path / "path" / "go"
    go.write_text(GO)
    go.chmod(0o755)
    monkeypatch.setattr(building, "_DISK_NEEDED", 0)
    return {"PATH": f"{tmp_path / 'path'}:/usr/bin:/bin", "STOKER_CACHE": str(tmp_path / "cache")}


def test_what_is_missing_is_built_once(tmp_path: Path, environ: dict[str, str]) -> None:
    for _ in range(2):
        paths = building.ensure(["kubelet", "kube-proxy"], Progress(), environ)
        assert paths == {name: tmp_path / "cache/bin" / name for name in ("kubelet", "kube-proxy")}
    asked = (tmp_path / "cache/asked").read_text().splitlines()
    assert len(asked) == 2
    assert asked[0].startswith("0 local build"), "no C compiler, and never another Go through the proxy"
    assert f"gitVersion=v{RELEASE}" in asked[0]
    assert asked[0].endswith("k8s.io/kubernetes/cmd/kubelet")


def test_a_failed_build_leaves_nothing_and_shows_the_compilers_words(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    with pytest.raises(LocalError, match="Building kubelet failed") as failure:
        building.ensure(["kubelet"], Progress(), {**environ, "BREAK": "1"})
    assert "undefined: x" in failure.value.details
    assert [path for path in os.listdir(tmp_path / "cache/bin") if "kubelet" in path] == []


def test_a_full_disk_is_said_before_a_build_starts(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_DISK_NEEDED", 10**18)
    with pytest.raises(LocalError, match="GB of free disk") as failure:
        building.ensure(["kubelet"], Progress(), environ)
    assert "STOKER_CACHE" in failure.value.remedy


def test_wheels_are_pinned_by_hash() -> None:
    for name in ("go", "kubectl"):
        assert "--hash=sha256:" in (programs.MODULES / f"{name}.txt").read_text()
