"""KServe's ten status defects (as read in its 0.20), each absent here.

Statuses are judged from whole views of a cluster, without one; see golden.py for what a view is made of.
"""

from __future__ import annotations

from typing import Any

import pytest

from controller import story
from stoker.serving.status.judge import judge
from tests.controller import golden

Object = dict[str, Any]
SMALL = {"model": {"modelFormat": {"name": "huggingface"}, "args": ["--model_id=org/small"]}}
LARGE = {"model": {"modelFormat": {"name": "huggingface"}, "args": ["--model_id=org/large"]}}
BORN = golden.BORN
SCHEDULED = {"type": "PodScheduled", "status": "True", "lastTransitionTime": BORN}
NAME = "kserve-container"


def status(**given: Any) -> Any:
    return judge(golden.desired_of({"predictor": SMALL, **given}).situation)


def of(judged: Any, kind: str = "Ready") -> Any:
    [found] = [each for each in judged["conditions"] if each["type"] == kind]
    return found


def one_pod(pod_status: Any, **more: Any) -> Any:
    return status(
        history=[{"predictor": SMALL, "replicas": 1}], pods=[{"revision": 1, "status": pod_status, **more}]
    )


def waiting(reason: str, message: str = "words") -> Object:
    container = {"name": NAME, "image": "x:1", "state": {"waiting": {"reason": reason, "message": message}}}
    return {"phase": "Pending", "conditions": [SCHEDULED], "containerStatuses": [container]}


def ended(reason: str, code: int, message: str = "") -> Object:
    terminated = {"reason": reason, "exitCode": code, "message": message, "finishedAt": BORN}
    container = {"name": NAME, "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    container["lastState"] = {"terminated": terminated}
    return {"phase": "Running", "conditions": [SCHEDULED], "containerStatuses": [container]}


def test_1_the_observed_generation_is_the_services_own() -> None:
    deployed = {"predictor": SMALL, "replicas": 1, "deploymentStatus": {"observedGeneration": 1}}
    judged = status(generation=7, history=[deployed], pods=[{"revision": 1, "status": "ready"}])
    assert judged["observedGeneration"] == 7
    assert {each["observedGeneration"] for each in judged["conditions"]} == {7}


def test_2_pods_of_before_an_update_do_not_make_it_ready() -> None:
    judged = status(
        predictor=LARGE,
        generation=2,
        history=[{"predictor": SMALL, "replicas": 1}],
        pods=[{"revision": 1, "status": "ready"}],
        status=status(
            history=[{"predictor": SMALL, "replicas": 1}], pods=[{"revision": 1, "status": "ready"}]
        ),
    )
    assert of(judged)["status"] == "Unknown"
    assert of(judged, "LatestDeploymentReady")["status"] == "Unknown"
    assert of(judged, "PredictorReady")["status"] == "True", "the old pods serve, and it says so"


def test_2_a_deployment_that_speaks_of_an_older_template_is_not_believed() -> None:
    late = {
        "observedGeneration": 0,
        "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}],
    }
    judged = status(history=[{"predictor": SMALL, "replicas": 1, "deploymentStatus": late}])
    assert of(judged)["status"] == "Unknown"


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        (ended("OOMKilled", 137), "OOMKilled", "raise resources.limits.memory"),
        (waiting("ImagePullBackOff"), "ImagePullFailed", "x:1"),
        (
            waiting("CreateContainerConfigError", 'secret "hf-token" not found'),
            "CreateContainerConfigError",
            'secret "hf-token" not found',
        ),
        (ended("Error", 3, "Traceback\nValueError: no"), "CrashLoopBackOff", "exit code 3: ValueError: no"),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, "Evicted", "low on memory"),
        (
            {
                "phase": "Pending",
                "conditions": [
                    SCHEDULED | {"status": "False", "reason": "Unschedulable", "message": "0/1 nodes fit"}
                ],
            },
            "Unschedulable",
            "0/1 nodes fit",
        ),
    ],
    ids=["memory", "image", "secret", "crash", "evicted", "unschedulable"],
)
def test_3_every_trouble_is_told_with_its_words(pod: Object, reason: str, words: str) -> None:
    ready = of(one_pod(pod))
    assert (ready["status"], ready["reason"]) == ("False", reason)
    assert words in ready["message"]


@pytest.mark.parametrize("sick", [0, 1, 2])
def test_3_whichever_pod_it_is(sick: int) -> None:
    pods: list[Object] = [{"revision": 1, "status": "running"} for _ in range(3)]
    pods[sick] = {"revision": 1, "status": ended("OOMKilled", 137)}
    three = SMALL | {"minReplicas": 3}
    judged = status(predictor=three, history=[{"predictor": three, "replicas": 3}], pods=pods)
    assert of(judged)["reason"] == "OOMKilled"
    assert judged["modelStatus"]["lastFailureInfo"]["location"] == f"llm-predictor-00001-pod{sick}"


def test_4_a_crash_of_the_main_container_needs_no_word_of_the_deployment() -> None:
    deployed = {"predictor": SMALL, "replicas": 1, "deploymentStatus": {}}
    judged = status(history=[deployed], pods=[{"revision": 1, "status": ended("Error", 1)}])
    assert of(judged)["reason"] == "CrashLoopBackOff"


def test_5_failed_copies_are_counted() -> None:
    three = SMALL | {"minReplicas": 3}
    pods = [
        {"revision": 1, "status": "ready"},
        {"revision": 1, "status": ended("Error", 1)},
        {"revision": 1, "status": ended("OOMKilled", 137)},
    ]
    judged = status(predictor=three, history=[{"predictor": three, "replicas": 3}], pods=pods)
    assert judged["modelStatus"]["copies"] == {"failedCopies": 2, "totalCopies": 1}


def test_6_the_first_sight_of_it_writes_every_condition() -> None:
    kinds = {"Ready", "PredictorReady", "IngressReady", "LatestDeploymentReady"}
    for judged in (status(), status(predictor={"model": {"modelFormat": {"name": "sklearn"}}})):
        assert kinds <= {each["type"] for each in judged["conditions"]}
        assert all(each["reason"] and each["message"] for each in judged["conditions"])


@pytest.mark.parametrize(
    ("predictor", "reason"),
    [
        ({"model": {"modelFormat": {"name": "sklearn"}}}, "NoSupportingRuntime"),
        ({"model": {"modelFormat": {"name": "huggingface"}, "runtime": "nobody"}}, "RuntimeNotRecognized"),
        (
            {"model": {"modelFormat": {"name": "huggingface"}, "args": ["--x={{.Labels.no}}"]}},
            "InvalidPredictorSpec",
        ),
    ],
)
def test_7_what_cannot_be_rendered_is_a_condition_and_an_event(predictor: Object, reason: str) -> None:
    before = status(history=[{"predictor": SMALL, "replicas": 1}], pods=[{"revision": 1, "status": "ready"}])
    assert of(before)["status"] == "True"
    after = status(
        predictor=predictor,
        generation=2,
        history=[{"predictor": SMALL, "replicas": 1}],
        pods=[{"revision": 1, "status": "ready"}],
        status=before,
    )
    ready = of(after)
    assert (ready["status"], ready["reason"]) == ("False", reason)
    assert reason in {note.reason for note in story.notes(before, after)}
    assert of(after, "PredictorReady")["status"] == "True"


def test_7_a_message_is_text_and_no_format() -> None:
    message = "100% {of} %s %d"
    judged = one_pod(ended("Error", 1, message))
    assert message in of(judged)["message"]
    assert [note.note for note in story.notes({}, judged) if message in note.note]


def test_8_recovery_clears_the_failure_and_death_the_loaded_model() -> None:
    failed = one_pod(ended("OOMKilled", 137))
    assert failed["modelStatus"]["lastFailureInfo"]["exitCode"] == 137
    history = [{"predictor": SMALL, "replicas": 1}]
    well = status(history=history, pods=[{"revision": 1, "status": "ready"}], status=failed)
    assert "lastFailureInfo" not in well["modelStatus"]
    assert well["modelStatus"]["states"] == {"activeModelState": "Loaded", "targetModelState": "Loaded"}
    dead = status(history=history, pods=[{"revision": 1, "status": ended("Error", 1)}], status=well)
    assert dead["modelStatus"]["states"]["activeModelState"] != "Loaded"


def test_9_a_users_edit_is_acted_on_whatever_the_annotation() -> None:
    given = {"predictor": LARGE, "generation": 2, "history": [{"predictor": SMALL, "replicas": 1}]}
    view, _ = golden.view_of(given, golden.Settings())
    view.obj["metadata"]["annotations"] = {"serving.kserve.io/disable-auto-update": "true"}
    desired = golden.desire(view, golden.Settings(), lambda pod: None, 0.0)
    assert desired.new_revision is not None


def test_10_a_deployment_mode_that_is_not_offered_does_not_end_in_silence() -> None:
    view, _ = golden.view_of({"predictor": SMALL}, golden.Settings())
    view.obj["metadata"]["annotations"] = {"serving.kserve.io/deploymentMode": "Knative"}
    judged = judge(golden.desire(view, golden.Settings(), lambda pod: None, 0.0).situation)
    assert judged["deploymentMode"] == "Standard"
    assert of(judged)["reason"] == "Creating", "it is served, in the one mode there is"
