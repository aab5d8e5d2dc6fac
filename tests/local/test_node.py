"""A node's description: what the user's half writes before root starts it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from stoker.local import mounts, node, programs
from stoker.local.home import Home, cache_from, home_from
from stoker.local.node import NodePlan, Prepared

PREPARED = Prepared(
    "198.18.1.2", "/usr/bin/containerd", "/usr/bin/ctr", "/usr/sbin/runc", "/usr/lib/cni", False
)


def describe(home: Home) -> NodePlan:
    paths = {name: Path("/cache/bin") / name for name in programs.NODE}
    rules: mounts.Rules = []
    return node.describe(home, PREPARED, paths, rules, Path("/usr/bin/python3"))


def containerd(home: Home) -> dict[str, Any]:
    return tomllib.loads((home.path / "node/containerd.toml").read_text())


def test_the_plan_survives_being_written(tmp_path: Path) -> None:
    plan = describe(Home(tmp_path))
    assert NodePlan.load(tmp_path / "node/node.json") == plan


def test_components_wait_for_each_other_and_never_in_a_circle(tmp_path: Path) -> None:
    tasks = {task.name: task for task in describe(Home(tmp_path)).tasks}
    assert "done:images" in tasks["kubelet"].after, "images that are not there cannot be pulled"
    assert any(
        each.startswith("https:198.18.1.2:6443/readyz") for each in tasks["kube-controller-manager"].after
    )
    assert tasks["images"].once
    assert tasks["etcd"].after == tasks["containerd"].after == ()


def test_root_appends_to_logs_that_the_user_made(tmp_path: Path) -> None:
    plan = describe(Home(tmp_path))
    assert all(Path(task.log).exists() for task in plan.tasks)
    assert Path(plan.node_log).exists()


def test_whatever_the_home_is_called(tmp_path: Path) -> None:
    home = Home(tmp_path / 'my "home" $HOME')
    describe(home)
    runtime = containerd(home)["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]["runc"]
    assert runtime["options"]["BinaryName"] == str(home.path / "node/runc")


def test_oom_scores_are_restricted_where_root_may_not_lower_them(tmp_path: Path) -> None:
    describe(Home(tmp_path))
    cri = containerd(Home(tmp_path))["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["restrict_oom_score_adj"] is True


def test_the_kubelet_keeps_images_and_asks_who_calls(tmp_path: Path) -> None:
    describe(Home(tmp_path))
    kubelet = json.loads((tmp_path / "node/kubelet.json").read_text())
    assert kubelet["imageGCHighThresholdPercent"] == 100
    assert kubelet["authentication"]["anonymous"] == {"enabled": False}
    assert kubelet["cgroupDriver"] == "cgroupfs"


def test_homes_and_caches_follow_the_environment() -> None:
    assert home_from({"HOME": "/home/u"}).path == Path("/home/u/.local/state/stoker")
    assert home_from({"HOME": "/home/u", "XDG_STATE_HOME": "/s"}).path == Path("/s/stoker")
    assert home_from({"HOME": "/home/u", "STOKER_HOME": "/x"}).path == Path("/x")
    assert cache_from({"HOME": "/home/u"}) == Path("/home/u/.cache/stoker")
    assert cache_from({"STOKER_CACHE": "/c"}) == Path("/c")


def test_two_clusters_differ_wherever_they_could_meet(tmp_path: Path) -> None:
    one, two = Home(tmp_path / "one"), Home(tmp_path / "two")
    assert one.identity != two.identity
    assert one.node_state != two.node_state
