"""Seconds of a first start, from the pod's times and the runtime's own."""

from __future__ import annotations

from typing import Any

import pytest

from controller import story
from stoker.serving.status.cold_start import cold_start, words
from stoker.serving.status.judge import judge
from tests.controller import golden

Object = dict[str, Any]
NAME = "kserve-container"


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02d}Z"


def pod(*, restarts: int = 0, fetched: tuple[int, int] | None = None, started: int = 12) -> Object:
    container = {"name": NAME, "restartCount": restarts, "state": {"running": {"startedAt": at(started)}}}
    status: Object = {
        "phase": "Running",
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(2)},
            {"type": "Ready", "status": "True", "lastTransitionTime": at(50)},
        ],
        "containerStatuses": [container | {"ready": True}],
    }
    if fetched:
        run = {"startedAt": at(fetched[0]), "finishedAt": at(fetched[1]), "exitCode": 0}
        init = {"name": "storage-initializer", "ready": True, "state": {"terminated": run}}
        status["initContainerStatuses"] = [init]
    return {"metadata": {"name": "p", "creationTimestamp": at(0)}, "spec": {}, "status": status}


STATE = {
    "phase": "Ready",
    "phases": {"Starting": 0.5, "Fetching": 20.0, "Loading": 9.25, "Compiling": 3, "Warming": 1.04},
}


def test_each_phase_has_its_seconds() -> None:
    assert cold_start(pod(), STATE, NAME) == {
        "pod": "p",
        "scheduledSeconds": 2.0,
        "pulledSeconds": 10.0,
        "downloadedSeconds": 20.0,
        "loadedSeconds": 12.8,
        "warmedSeconds": 1.0,
        "totalSeconds": 50.0,
    }


def test_an_init_containers_fetch_is_no_pull() -> None:
    found = cold_start(pod(fetched=(5, 11)), {}, NAME)
    assert found is not None
    assert (found["pulledSeconds"], found["downloadedSeconds"]) == (4.0, 6.0)
    assert "loadedSeconds" not in found, "a server of the user's own does not tell"


@pytest.mark.parametrize("sick", [pod(restarts=1), {"metadata": {"name": "p"}, "status": {}}])
def test_what_is_not_known_is_not_told(sick: Object) -> None:
    assert cold_start(sick, STATE, NAME) is None


def test_it_stays_when_pods_come_and_go_and_is_told_once() -> None:
    predictor = {"model": {"modelFormat": {"name": "huggingface"}, "args": ["--model_id=org/small"]}}
    history = [{"predictor": predictor, "replicas": 1}]
    entry = {"revision": 1, "status": pod()["status"], "state": STATE}
    given: Object = {"predictor": predictor, "history": history, "pods": [entry]}
    first = judge(golden.desired_of(given).situation)
    assert first["coldStart"]["revisionName"] == "llm-predictor-00001"
    notes = {note.reason: note.note for note in story.notes({}, first)}
    assert "downloaded 20 s" in notes["ColdStart"]

    later = {**entry, "status": pod(started=20)["status"]}
    for pods in ([later], [{"revision": 1, "status": "ready"}], []):
        again = judge(golden.desired_of(given | {"pods": pods, "status": first}).situation)
        assert again["coldStart"] == first["coldStart"]
        assert "ColdStart" not in {note.reason for note in story.notes(first, again)}


def test_it_waits_for_the_whole_story() -> None:
    predictor = {"model": {"modelFormat": {"name": "huggingface"}, "args": ["--model_id=org/small"]}}
    entry = {"revision": 1, "status": pod()["status"], "state": {"phase": "Warming", "phases": {}}}
    given = {"predictor": predictor, "history": [{"predictor": predictor, "replicas": 1}], "pods": [entry]}
    assert "coldStart" not in judge(golden.desired_of(given).situation)


def test_words() -> None:
    found = cold_start(pod(), STATE, NAME)
    assert found is not None
    assert words(found) == (
        "50 s from the pod's creation until it was ready: scheduled 2 s, pulled 10 s, downloaded 20 s, "
        "loaded 12.8 s, warmed 1 s"
    )
