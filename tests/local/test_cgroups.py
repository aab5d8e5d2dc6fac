"""Control groups: which layout, which hierarchies, and making folders in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoker.local.cgroups import Hierarchy, hand_out, is_v2, make_v1, parse_hierarchies
from stoker.local.failures import LocalError

OWN = """9:name=systemd:/
8:pids:/
4:memory:/process_api/99
3:cpuset:/
2:cpu,cpuacct:/user.slice
0::/
"""
MOUNTS = """31 1 0:27 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
33 31 0:29 / /sys/fs/cgroup/cpuset rw,relatime shared:5 - cgroup cgroup rw,cpuset,clone_children
34 31 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
35 31 0:31 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
36 31 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
37 31 0:33 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


@pytest.mark.parametrize(("said", "v2"), [("cgroup2fs\n", True), ("tmpfs\n", False), ("", False)])
def test_the_layout_is_told_by_the_file_system(said: str, v2: bool) -> None:
    assert is_v2(said) is v2


def test_every_hierarchy_is_found_with_the_folder_of_whoever_asks() -> None:
    found = {each.controllers: each for each in parse_hierarchies(OWN, MOUNTS)}
    assert set(found) == {"name=systemd", "pids", "memory", "cpuset", "cpu,cpuacct"}
    # Below the caller's own folder, so that a cluster stays within the caller's limits.
    assert found["memory"].own == Path("/sys/fs/cgroup/memory/process_api/99")
    assert found["cpu,cpuacct"].own == Path("/sys/fs/cgroup/cpu,cpuacct/user.slice")
    assert (found["name=systemd"].folder_name, found["name=systemd"].mount_options) == (
        "systemd",
        "none,name=systemd",
    )


def test_a_hierarchy_whose_mount_shows_only_a_part() -> None:
    own = OWN.replace("memory:/process_api/99", "memory:/docker/1/inner")
    mounts = MOUNTS.replace("0:30 / ", "0:30 /docker/1 ")
    found = {each.controllers: each for each in parse_hierarchies(own, mounts)}
    assert found["memory"].own == Path("/sys/fs/cgroup/memory/inner")


def test_a_missing_controller_is_named_with_a_way_out() -> None:
    with pytest.raises(LocalError) as failure:
        parse_hierarchies(OWN.replace("4:memory:/process_api/99\n", ""), MOUNTS)
    assert "memory" in failure.value.problem
    assert "stoker run -f" in failure.value.remedy


def test_a_new_cpuset_gets_what_the_nearest_filled_one_has(tmp_path: Path) -> None:
    own = tmp_path / "a" / "b"
    own.mkdir(parents=True)
    (own / "node").mkdir()
    for folder, cpus in ((tmp_path, "0-1"), (tmp_path / "a", "1"), (own, ""), (own / "node", "")):
        (folder / "cpuset.cpus").write_text(cpus + "\n")
    assert make_v1("node", [Hierarchy("cpuset", tmp_path, own)]) == [own / "node"]
    assert (own / "node" / "cpuset.cpus").read_text() == "1"


def unified(folder: Path, controllers: str, processes: str = "") -> Path:
    (folder / "cgroup.controllers").write_text(controllers)
    (folder / "cgroup.procs").write_text(processes)
    return folder


def test_v2_gives_pods_the_controllers_that_a_kubelet_checks(tmp_path: Path) -> None:
    hand_out(unified(tmp_path, "cpuset cpu io memory hugetlb pids rdma misc\n"))
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpuset +cpu +io +memory +hugetlb +pids"


def test_v2_without_delegated_memory_says_so(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="memory"):
        hand_out(unified(tmp_path, "cpuset cpu pids\n"))


def test_v2_waits_for_the_process_that_only_the_outside_can_move(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="'0'"):
        hand_out(unified(tmp_path, "cpuset cpu memory pids\n", "0\n"), timeout=0.05)
    assert not (tmp_path / "cgroup.subtree_control").exists()
