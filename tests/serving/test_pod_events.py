"""What a pod's events add to its status, and that an old event blames no new run."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.serving.status.pod_events import Said, read_events
from stoker.serving.status.pods import report
from stoker.serving.status.trouble import trouble_of

Object = dict[str, Any]
NAME = "kserve-container"


def at(second: int) -> str:
    return f"2026-01-01T00:{second // 60:02d}:{second % 60:02d}Z"


def event(reason: str, message: str, second: int, container: str = NAME) -> Object:
    about = {"fieldPath": f"spec.containers{{{container}}}"} if container else {}
    return {"reason": reason, "message": message, "lastTimestamp": at(second), "involvedObject": about}


def pod(container: Object | None = None, **status: Any) -> Object:
    made = {"name": NAME, "ready": False, "restartCount": 0, **(container or {})}
    return {
        "metadata": {"name": "p", "uid": "u"},
        "spec": {"containers": [{"name": NAME, "resources": {"limits": {"memory": "1Gi"}}}]},
        "status": {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": at(0)}],
            "containerStatuses": [made],
            **status,
        },
    }


CREATING = {"state": {"waiting": {"reason": "ContainerCreating"}}}


def run(begun: int, ended: int, code: int, *, restarts: int, message: str = "") -> Object:
    """A container that ended once and runs again."""
    last = {"exitCode": code, "startedAt": at(begun), "finishedAt": at(ended), "message": message}
    return {
        "restartCount": restarts,
        "state": {"running": {"startedAt": at(ended + 1)}},
        "lastState": {"terminated": last},
    }


class TestVolumes:
    MISSING = event("FailedMount", 'MountVolume.SetUp failed for volume "a" : configmap "a" not found', 5, "")

    def test_the_kubelets_words(self) -> None:
        said = read_events(pod(CREATING), [self.MISSING])
        trouble = trouble_of(pod(CREATING), None, said)
        assert trouble is not None
        assert trouble.reason == "FailedMount"
        assert 'configmap "a" not found' in trouble.message

    def test_are_kept_from_the_summary_that_comes_later(self) -> None:
        later = event("FailedMount", "Unable to attach or mount volumes: timed out waiting", 125, "")
        said = read_events(pod(CREATING), [self.MISSING, later])
        assert [each.message for each in said] == [self.MISSING["message"]]

    def test_are_not_told_once_the_sandbox_is_made(self) -> None:
        condition = {"type": "PodReadyToStartContainers", "status": "True", "lastTransitionTime": at(9)}
        pulling = pod(CREATING)
        pulling["status"]["conditions"].append(condition)
        assert read_events(pulling, [self.MISSING]) == ()
        stale = read_events(pod(CREATING), [self.MISSING])
        assert trouble_of(pulling, None, stale) is None, "events are asked now and then, the pod is watched"

    def test_words_that_hold_an_identifier_stand_still(self) -> None:
        one, two = ("ab" * 32, "cd" * 32)
        words = "Failed to create pod sandbox: network for sandbox {} cannot be set up"
        first = read_events(pod(CREATING), [event("FailedCreatePodSandBox", words.format(one), 5, "")])
        second = read_events(pod(CREATING), [event("FailedCreatePodSandBox", words.format(two), 9, "")])
        assert first == second != ()


class TestProbes:
    UNHEALTHY = event("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 503", 19)
    KILLING = event("Killing", f"Container {NAME} failed liveness probe, will be restarted", 20)

    @pytest.mark.parametrize("code", [0, 137, 143])
    def test_that_end_a_container_are_its_trouble(self, code: int) -> None:
        restarted = pod(run(5, 21, code, restarts=1))
        trouble = trouble_of(restarted, None, read_events(restarted, [self.UNHEALTHY, self.KILLING]))
        assert trouble is not None
        assert trouble.reason == "LivenessProbeFailed"
        assert "statuscode: 503" in trouble.message

    def test_while_the_container_is_being_ended(self) -> None:
        ending = pod({"state": {"running": {"startedAt": at(5)}}})
        trouble = trouble_of(ending, None, read_events(ending, [self.UNHEALTHY, self.KILLING]))
        assert trouble is not None
        assert trouble.reason == "LivenessProbeFailed"

    def test_startup(self) -> None:
        events = [
            event("Unhealthy", "Startup probe failed: dial tcp 10.0.0.1:8080: connection refused", 19),
            event("Killing", f"Container {NAME} failed startup probe, will be restarted", 20),
        ]
        restarted = pod(run(5, 21, 137, restarts=1))
        trouble = trouble_of(restarted, None, read_events(restarted, events))
        assert trouble is not None
        assert trouble.reason == "StartupProbeFailed"
        assert "connection refused" in trouble.message

    def test_of_an_earlier_run_do_not_explain_a_crash(self) -> None:
        crashed = pod(run(100, 130, 3, restarts=4, message="ValueError: no"))
        trouble = trouble_of(crashed, None, read_events(crashed, [self.UNHEALTHY, self.KILLING]))
        assert trouble is not None
        assert trouble.reason == "CrashLoopBackOff"

    def test_explain_later_runs_whose_events_the_kubelet_dropped(self) -> None:
        killed_again = pod(run(300, 321, 137, restarts=6))
        trouble = trouble_of(killed_again, None, read_events(killed_again, [self.UNHEALTHY, self.KILLING]))
        assert trouble is not None
        assert trouble.reason == "LivenessProbeFailed"

    def test_the_reason_stays_until_the_next_run_was_asked_about(self) -> None:
        said = read_events(pod(run(5, 21, 137, restarts=1)), [self.UNHEALTHY, self.KILLING])
        reasons = [
            trouble.reason
            for restarts in (1, 2, 3)
            if (trouble := trouble_of(pod(run(30, 50, 137, restarts=restarts)), None, said))
        ]
        assert reasons == ["LivenessProbeFailed", "LivenessProbeFailed", "CrashLoopBackOff"]

    def test_a_runtime_that_said_why_is_believed_first(self) -> None:
        left = '{"error": {"reason": "EngineFailed", "message": "the engine hangs"}}'
        restarted = pod(run(5, 21, 1, restarts=1, message=left))
        trouble = trouble_of(restarted, None, read_events(restarted, [self.KILLING]))
        assert trouble is not None
        assert trouble.reason == "EngineFailed"

    def test_readiness_is_no_trouble_but_is_told(self) -> None:
        starting = pod({"state": {"running": {"startedAt": at(5)}}})
        events = [event("Unhealthy", "Readiness probe failed: connection refused", 9)]
        found = report(starting, None, read_events(starting, events))
        assert found.trouble is None
        assert found.progress == (
            "Starting",
            "the container runs and is not ready yet: connection refused",
        )

    def test_of_another_container_are_not_this_ones(self) -> None:
        restarted = pod(run(5, 21, 3, restarts=1))
        trouble = trouble_of(
            restarted, None, [Said("LivenessProbeFailed", "no", container="helper", restarts=1)]
        )
        assert trouble is not None
        assert trouble.reason == "CrashLoopBackOff"
