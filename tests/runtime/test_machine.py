"""Limits as the kernel shows them, in both versions of cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime import machine


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def own(folder: Path, text: str) -> Path:
    path = folder / "own"
    path.write_text(text)
    return path


def test_a_container_with_cgroup_v2(tmp_path: Path) -> None:
    root = tree(
        tmp_path / "fs",
        {
            "memory.max": "4294967296\n",
            "cpu.max": "150000 100000\n",
        },
    )
    me = own(tmp_path, "0::/\n")
    assert machine.memory_limit(root, me) == 4 << 30
    assert machine.processors(root, me) <= 2


def test_what_is_free_in_a_container(tmp_path: Path) -> None:
    """Pages of files that are not in use count as free; the machine itself may have less."""
    files = {
        "memory.max": "4000000\n",
        "memory.current": "3500000\n",
        "memory.stat": "inactive_file 200000\n",
    }
    root, me = tree(tmp_path / "fs", files), own(tmp_path, "0::/\n")
    assert machine.memory_free(root, me) == 700_000
    (root / "memory.max").write_text("max\n")
    assert machine.memory_free(root, me) > 700_000


def test_a_container_with_cgroup_v1(tmp_path: Path) -> None:
    root = tree(
        tmp_path / "fs",
        {
            "memory/memory.limit_in_bytes": "3221225472\n",
            "cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
            "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    # The path is the host's: in the container's own namespace of cgroups it leads nowhere.
    me = own(tmp_path, "5:memory:/kubepods/pod1/c1\n4:cpu,cpuacct:/kubepods/pod1/c1\n1:name=systemd:/x\n")
    assert machine.memory_limit(root, me) == 3 << 30
    assert machine.processors(root, me) == 1


def test_the_smallest_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    root = tree(
        tmp_path / "fs",
        {"a/memory.max": "2000\n", "a/b/memory.max": "max\n", "a/b/c/memory.max": "9000\n"},
    )
    assert machine.memory_limit(root, own(tmp_path, "0::/a/b/c\n")) == 2000


@pytest.mark.parametrize("text", ["max\n", "9223372036854771712\n", "rubbish"])
def test_no_limit(tmp_path: Path, text: str) -> None:
    root = tree(
        tmp_path / "fs", {"memory.max": text, "memory/memory.limit_in_bytes": text, "cpu.max": "max 1\n"}
    )
    me = own(tmp_path, "0::/\n3:memory:/\n")
    assert machine.memory_limit(root, me) is None
    assert machine.processors(root, me) >= 1


def test_a_machine_without_cgroups(tmp_path: Path) -> None:
    assert machine.memory_limit(tmp_path / "fs", tmp_path / "none") is None
    assert machine.processors(tmp_path / "fs", tmp_path / "none") >= 1


@pytest.mark.parametrize(
    ("flags", "fast"), [("fpu avx2", False), ("avx2 avx512f", True), ("avx2 amx_bf16", True)]
)
def test_fast_half_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, fast: bool) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor: 0\nflags\t\t: {flags}\n")
    assert machine.fast_half_precision(cpuinfo) is fast
