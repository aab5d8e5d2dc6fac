"""A status stands still: the same observation says the same, and only a pod's own turns change Ready."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.caches import View
from controller.desired import desire
from stoker.serving.settings import Settings
from stoker.serving.status.judge import judge
from tests.controller import golden

Object = dict[str, Any]
SMALL = {"model": {"modelFormat": {"name": "huggingface"}, "args": ["--model_id=org/small"]}}
NAME = "kserve-container"


def at(second: int) -> str:
    return f"2026-01-01T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z"


class Life:
    """One pod's life, one status after the other, as a kubelet writes them."""

    def __init__(self) -> None:
        self.second = 0
        self.restarts = 0
        self.last: Object | None = None
        self.started = 0

    def step(self, what: str, code: int) -> list[Object]:
        """The statuses that one turn of events leads through."""
        self.second += 3
        if what == "ready":
            return [self._running(ready=True)]
        if what == "unready":
            return [self._running(ready=False)]
        if what == "pull":
            return [self._waiting(reason) for reason in ("ErrImagePull", "ImagePullBackOff", "ErrImagePull")]
        ended = {
            "exitCode": code,
            "reason": "OOMKilled" if what == "memory" else "Error",
            "message": "no",
            "startedAt": at(self.started),
            "finishedAt": at(self.second),
        }
        dead = self._status({"terminated": ended})
        self.last, self.restarts, self.started = {"terminated": ended}, self.restarts + 1, self.second + 2
        return [dead, self._waiting("CrashLoopBackOff"), self._running(ready=False)]

    def _running(self, *, ready: bool) -> Object:
        return self._status({"running": {"startedAt": at(self.started)}}, ready=ready)

    def _waiting(self, reason: str) -> Object:
        message = "" if reason == "CrashLoopBackOff" else "not found"
        return self._status({"waiting": {"reason": reason, "message": message}})

    def _status(self, state: Object, *, ready: bool = False) -> Object:
        container = {"name": NAME, "image": "x:1", "ready": ready, "restartCount": self.restarts}
        container |= {"state": state, "lastState": self.last or {}}
        return {
            "phase": "Running",
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(0)},
                {"type": "Ready", "status": str(ready), "lastTransitionTime": at(self.second)},
            ],
            "containerStatuses": [container],
        }


def _view() -> View:
    history = [{"predictor": SMALL, "replicas": 1}]
    pods = [{"revision": 1, "status": "new"}]
    return golden.view_of({"predictor": SMALL, "history": history, "pods": pods}, Settings())[0]


VIEW = _view()  # made once: rendering it is most of the work


def judged(pod: Object, before: Object | None) -> Any:
    obj = VIEW.obj if before is None else {**VIEW.obj, "status": before}
    view = replace(VIEW, obj=obj, pods=[{**VIEW.pods[0], "status": pod}])
    return judge(desire(view, Settings(), lambda _: None, 0.0).situation)


def ready_of(status: Any) -> tuple[str, str]:
    [found] = [each for each in status["conditions"] if each["type"] == "Ready"]
    return found["status"], found["reason"]


TURNS = st.lists(
    st.tuples(st.sampled_from(["ready", "unready", "crash", "memory", "pull"]), st.sampled_from([0, 1, 137])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(TURNS)
def test_only_a_pods_own_turns_change_what_is_said(turns: list[tuple[str, int]]) -> None:
    life, before, was = Life(), None, ("", "")
    for what, code in turns:
        said = set()
        for pod in life.step(what, code):
            status = judged(pod, before)
            assert judged(pod, before) == status, "the same observation, another word"
            assert judged(pod, status) == status, "its own words made it say others"
            now = ready_of(status)
            assert (now[0] == "True") == (what == "ready"), "Ready is what the pod is"
            said.add(now)
            before, was = status, now
        assert len(said) == 1, f"{what} (exit code {code}) is one thing, and was told as {said} after {was}"
