"""What the table of components says."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from stoker.local import readiness
from stoker.local.failures import LocalError
from stoker.local.home import Home
from stoker.local.readiness import ComponentState


class FakeApi:
    """Answers from a table of paths; a stand-in for an API server's reads only."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers

    def get(self, path: str) -> Any:
        return self._answers.get(path)


class Shown:
    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []

    def show(self, name: str, state: str, detail: str = "") -> None:
        self.rows.append((name, state, detail))


def deployment(available: int) -> dict[str, Any]:
    return {
        "metadata": {"name": "stoker-webhook", "generation": 2},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "w"}}},
        "status": {
            "observedGeneration": 2,
            "replicas": 1,
            "updatedReplicas": 1,
            "availableReplicas": available,
        },
    }


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "labels": {"app": "w", "more": "x"}}, "status": status}


def rows(items: list[Any], pods: list[Any]) -> list[ComponentState]:
    api = FakeApi(
        {
            "/apis/apps/v1/namespaces/s/deployments": {"items": items},
            "/api/v1/namespaces/s/pods": {"items": pods},
        }
    )
    return readiness.deployments(api, "s", ["stoker-webhook"])  # type: ignore[arg-type]


def test_a_deployment_is_ready_when_its_own_generation_is_available() -> None:
    assert rows([deployment(1)], []) == [ComponentState("stoker-webhook", "Ready")]
    stale = deployment(1)
    stale["metadata"]["generation"] = 3
    assert rows([stale], [])[0].state == "Starting"
    assert rows([], []) == [ComponentState("stoker-webhook", "Waiting")]


def test_an_old_pod_that_is_still_there_does_not_count() -> None:
    rolling = deployment(1)
    rolling["status"]["replicas"] = 2
    assert rows([rolling], [])[0].state == "Starting"


def test_why_a_deployment_is_not_ready_is_in_the_clusters_words() -> None:
    waiting = {"reason": "ErrImageNeverPull", "message": "no such image"}
    broken = pod(containerStatuses=[{"name": "c", "ready": False, "state": {"waiting": waiting}}])
    assert rows([deployment(0)], [broken])[0].detail == "c: ErrImageNeverPull no such image"
    unschedulable = pod(
        conditions=[{"type": "PodScheduled", "status": "False", "message": "Insufficient cpu"}]
    )
    assert rows([deployment(0)], [unschedulable])[0].detail == "Insufficient cpu"


def test_waiting_ends_when_all_are_ready(tmp_path: Path) -> None:
    shown = Shown()
    states = iter(
        [[ComponentState("a", "Waiting")], [ComponentState("a", "Ready"), ComponentState("b", "Done")]]
    )
    readiness.wait(Home(tmp_path), shown, states, 10, os.getpid())
    assert shown.rows == [("a", "Waiting", ""), ("a", "Ready", ""), ("b", "Done", "")]


def test_waiting_gives_up_with_names_and_the_end_of_the_log(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.logs.mkdir()
    home.log("kubelet").write_text("first line\nlast words\n")
    states = itertools.repeat([ComponentState("kubelet", "Starting", "why")])
    with pytest.raises(LocalError, match="kubelet is Starting why") as failure:
        readiness.wait(home, Shown(), states, 0, os.getpid())
    assert "last words" in failure.value.details
    assert "stoker logs kubelet" in failure.value.remedy


def test_waiting_notices_that_the_cluster_is_gone(tmp_path: Path) -> None:
    nobody = 2**22 + 1  # above the kernel's largest process id
    with pytest.raises(LocalError, match="first process ended"):
        readiness.wait(
            Home(tmp_path), Shown(), itertools.repeat([ComponentState("a", "Waiting")]), 10, nobody
        )


def test_a_component_that_keeps_ending_stops_the_wait(tmp_path: Path) -> None:
    status = tmp_path / "status.json"
    status.write_text(json.dumps({"etcd": {"state": "Restarting", "restarts": 6, "exitCode": 2}}))
    states = itertools.repeat(readiness.processes(status))
    with pytest.raises(LocalError, match="etcd keeps ending"):
        readiness.wait(Home(tmp_path), Shown(), states, 60, os.getpid())
