"""What a pod is said to be doing, and whom to ask about it."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.serving.status.pods import Report, answering, report, worst
from stoker.serving.status.trouble import Trouble

Object = dict[str, Any]
MODEL, FETCHER = "kserve-container", "storage-initializer"
RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
WAITING = {"waiting": {"reason": "PodInitializing"}}


def pod(init: Object | None, model: Object, name: str = FETCHER) -> Object:
    status: Object = {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [{"name": MODEL, "state": model}],
    }
    if init is not None:
        status["initContainerStatuses"] = [{"name": name, "state": init}]
    inits = [] if init is None else [{"name": name}]
    return {
        "metadata": {"name": "p", "uid": "u"},
        "spec": {"containers": [{"name": MODEL}], "initContainers": inits},
        "status": status,
    }


@pytest.mark.parametrize(
    ("init", "model", "who"),
    [
        (None, WAITING, None),
        (RUNNING, WAITING, FETCHER),
        ({"terminated": {"exitCode": 0}}, RUNNING, MODEL),
        (None, RUNNING, MODEL),
    ],
)
def test_the_container_that_is_asked(init: Object | None, model: Object, who: str | None) -> None:
    assert answering(pod(init, model)) == who


def test_a_fetch_in_an_init_container_shows_its_share() -> None:
    state = {"phase": "Fetching", "progress": {"done": 42, "total": 100, "unit": "bytes"}}
    assert report(pod(RUNNING, WAITING), state).progress == ("Fetching", "the model is being fetched, 40%")


def test_another_init_container_has_only_its_name() -> None:
    found = report(pod(RUNNING, WAITING, "prepare"), {"phase": "Loading"})
    assert found.progress == ("Initializing", "init container prepare runs")


def test_an_init_container_that_fails_says_the_runtimes_reason() -> None:
    left = '{"error": {"reason": "AccessDenied", "message": "s3://x/y may not be read"}}'
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": left}}
    trouble = report(pod(ended, WAITING), None).trouble
    assert trouble is not None
    assert trouble.reason == "AccessDenied"
    assert "init container storage-initializer ended with exit code 1" in trouble.message


def gone(time: str, message: str) -> Report:
    return Report("p", ready=False, ended=True, trouble=Trouble("Evicted", message, "p", time=time))


class TestPodsThatEndForGood:
    LOADING = Report("q", ready=False, running=True, progress=("Loading", "the weights are being loaded"))

    def test_one_whose_place_is_taken_is_no_trouble(self) -> None:
        assert worst([gone("2026-01-01T00:00:00Z", "disk"), self.LOADING]) is None

    def test_one_after_the_other_are_and_the_last_one_speaks(self) -> None:
        found = worst([gone("2026-01-01T00:09:00Z", "late"), gone("2026-01-01T00:00:00Z", "x"), self.LOADING])
        assert found is not None
        assert found.reason == "Evicted"
        assert found.message == "2 pods ended one after the other, the last: late"

    def test_they_are_forgotten_once_a_pod_is_ready(self) -> None:
        pods = [gone("2026-01-01T00:09:00Z", "a"), gone("2026-01-01T00:00:00Z", "b")]
        assert worst([*pods, Report("q", ready=True)]) is None
