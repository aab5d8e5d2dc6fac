"""What the controller exports of InferenceServices and of its loop, and what is left when they are gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controller.metrics import Metrics
from stoker.kube.resource import Key
from stoker.kube.workqueue import WorkQueue
from stoker.serving.rollouts.rollout import Phase

_CREATED = 1_700_000_000.0  # 2023-11-14T22:13:20Z
Series = dict[tuple[tuple[str, str], ...], float]


def _object(status: Any = None, name: str = "a", **annotations: str) -> Any:
    words = {f"stoker.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    metadata = {
        "name": name,
        "namespace": "n",
        "annotations": words,
        "creationTimestamp": "2023-11-14T22:13:20Z",
    }
    return {"metadata": metadata, "status": status or {}}


def _status(
    ready: str = "True",
    reason: str = "Ready",
    *,
    created: str = "r1",
    rolled_out: str | None = "r1",
    since: str = "2023-11-14T22:13:20Z",
    **more: Any,
) -> Any:
    latest = {"type": "LatestDeploymentReady", "status": ready, "reason": reason, "lastTransitionTime": since}
    return {
        "conditions": [{**latest, "type": "Ready"}, latest],
        "components": {
            "predictor": {
                "latestCreatedRevision": created,
                "latestRolledoutRevision": rolled_out,
                "traffic": [{"revisionName": rolled_out or created, "percent": 100}],
            }
        },
        **more,
    }


def _read(metrics: Metrics, name: str) -> Series:
    """Labels, without namespace and name, to value."""
    found: Series = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            if sample.name == name:
                labels = {k: v for k, v in sample.labels.items() if k not in {"namespace", "name"}}
                found[tuple(sorted(labels.items()))] = sample.value
    return found


def _own(metrics: Metrics) -> set[str]:
    """Series that name an InferenceService."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {str(s) for family in families for s in family.samples if s.labels.get("namespace") == "n"}


def test_objectives_are_told_as_shares_and_go_with_the_annotation() -> None:
    metrics = Metrics()

    def judged(**annotations: str) -> None:
        metrics.services.judged(_object(**annotations), _status(), "Complete", _CREATED)

    judged(objective_availability="99.5", objective_ttft_seconds="1")
    assert _read(metrics, "stoker_inferenceservice_availability_objective") == {(): 0.995}
    assert _read(metrics, "stoker_inferenceservice_objective") == {(("le", "1.0"),): 0.95}
    judged(objective_ttft_seconds="0.5", objective_ttft_percent="99")
    assert _read(metrics, "stoker_inferenceservice_availability_objective") == {}
    assert _read(metrics, "stoker_inferenceservice_objective") == {(("le", "0.5"),): 0.99}
    judged(objective_ttft_seconds="0.6", objective_availability="99")  # stored before anybody refused it
    assert _read(metrics, "stoker_inferenceservice_objective") == {}
    assert _read(metrics, "stoker_inferenceservice_availability_objective") == {(): 0.99}


def test_nothing_is_left_of_an_inference_service_that_is_gone() -> None:
    metrics = Metrics()
    full = _status("False", "OOMKilled", coldStart={"scheduledSeconds": 1.0, "loadedSeconds": 9.5})
    annotations = {"objective_availability": "99", "objective_ttft_seconds": "1"}
    metrics.services.judged(_object(name="stays"), full, "Progressing", _CREATED)
    before = _own(metrics)
    metrics.services.judged(_object(name="goes", **annotations), full, "Progressing", _CREATED)
    assert len(_own(metrics)) > len(before) + 9
    metrics.services.forget(Key("n", "goes"))
    assert _own(metrics) == before
    metrics.services.forget(Key("n", "never was"))


def test_why_it_is_not_ready_and_how_its_requests_are_shared() -> None:
    metrics = Metrics()
    for reason in ("Loading", "OOMKilled"):
        metrics.services.judged(_object(), _status("False", reason), "Progressing", _CREATED)
    assert _read(metrics, "stoker_inferenceservice_ready") == {(): 0}
    assert _read(metrics, "stoker_inferenceservice_not_ready_reason") == {(("reason", "OOMKilled"),): 1}
    metrics.services.judged(_object(), _status(), "Complete", _CREATED)
    assert _read(metrics, "stoker_inferenceservice_ready") == {(): 1}
    assert _read(metrics, "stoker_inferenceservice_not_ready_reason") == {}
    assert _read(metrics, "stoker_inferenceservice_traffic_percent") == {(("revision", "r1"),): 100}
    latest = (("condition", "LatestDeploymentReady"),)
    assert _read(metrics, "stoker_inferenceservice_condition")[latest] == 1


def test_the_time_to_ready_is_measured_once() -> None:
    metrics = Metrics()
    first = _status(rolled_out="r1")
    metrics.services.judged(_object(), first, "Complete", _CREATED + 42)
    metrics.services.judged(_object(first), first, "Complete", _CREATED + 50)
    broke = _status("False", "OOMKilled")
    metrics.services.judged(_object(broke), first, "Complete", _CREATED + 90)
    assert _read(metrics, "stoker_inferenceservice_time_to_ready_seconds_count") == {(): 1}
    assert _read(metrics, "stoker_inferenceservice_time_to_ready_seconds_sum") == {(): 42}


@pytest.mark.parametrize("end", ["Complete", "Canary"])
def test_a_rollout_is_timed_from_its_first_sight_until_it_holds(end: Phase) -> None:
    metrics = Metrics()
    moving = _status("Unknown", "RollingOut", created="r2", since="2023-11-14T22:13:30Z")
    failing = _status("False", "OOMKilled", created="r2", since="2023-11-14T22:15:00Z")
    for status, at in ((moving, 10), (failing, 100), (moving, 110)):
        metrics.services.judged(_object(), status, "Progressing", _CREATED + at)
        began = _read(metrics, "stoker_inferenceservice_rollout_began_timestamp_seconds")
        assert began == {(): _CREATED + 10}
    rolled_out = "r2" if end == "Complete" else "r1"
    metrics.services.judged(_object(), _status(created="r2", rolled_out=rolled_out), end, _CREATED + 130)
    assert _read(metrics, "stoker_inferenceservice_rollout_began_timestamp_seconds") == {}
    assert _read(metrics, "stoker_inferenceservice_rollout_seconds_sum") == {(): 120}
    phases = _read(metrics, "stoker_inferenceservice_rollout_phase")
    assert {dict(labels)["phase"]: value for labels, value in phases.items() if value} == {end: 1}
    assert len(phases) == 5


def test_a_first_start_and_a_pod_that_comes_back_are_no_rollouts() -> None:
    metrics = Metrics()
    metrics.services.judged(
        _object(), _status("Unknown", "Loading", rolled_out=None), "Progressing", _CREATED
    )
    metrics.services.judged(_object(), _status("Unknown", "Creating"), "Progressing", _CREATED + 5)
    metrics.services.judged(_object(), _status(), "Complete", _CREATED + 9)
    assert _read(metrics, "stoker_inferenceservice_rollout_began_timestamp_seconds") == {}
    assert _read(metrics, "stoker_inferenceservice_rollout_seconds_count") == {(): 0}


def test_a_rollout_whose_spec_broke_is_dropped_without_a_time() -> None:
    metrics = Metrics()
    moving = _status("Unknown", "RollingOut", created="r2")
    metrics.services.judged(_object(), moving, "Progressing", _CREATED)
    metrics.services.judged(_object(), _status("False", "InvalidPredictorSpec", created="r2"), None, _CREATED)
    assert _read(metrics, "stoker_inferenceservice_rollout_began_timestamp_seconds") == {}
    assert _read(metrics, "stoker_inferenceservice_rollout_seconds_count") == {(): 0}
    assert _read(metrics, "stoker_inferenceservice_rollout_phase") == {}


async def test_keys_in_work_are_timed_while_they_are_in_work() -> None:
    metrics, queue = Metrics(), WorkQueue[Any]("c")
    metrics.loop.loop_started("c", 2)
    metrics.loop.watch_queue("c", queue)
    loop = asyncio.get_running_loop()
    real, passed = loop.time, 0.0
    loop.time = lambda: real() + passed  # type: ignore[method-assign]  # a clock that jumps
    for key in ("one", "two"):
        queue.add(key)
        await queue.get()
        passed += 10
    longest = _read(metrics, "workqueue_longest_running_processor_seconds")[(("controller", "c"),)]
    unfinished = _read(metrics, "workqueue_unfinished_work_seconds")[(("controller", "c"),)]
    assert (round(longest), round(unfinished)) == (20, 30)
    for key in ("one", "two"):
        queue.done(key)
    assert _read(metrics, "workqueue_unfinished_work_seconds") == {(("controller", "c"),): 0}


def test_the_names_are_those_that_dashboards_of_controller_runtime_read() -> None:
    metrics = Metrics()
    metrics.loop.loop_started("c", 2)
    metrics.loop.leading("stoker-controller", True)
    text = metrics.exposition().decode()
    for name in (
        "controller_runtime_reconcile_total",
        "controller_runtime_reconcile_errors_total",
        "controller_runtime_reconcile_time_seconds_bucket",
        "controller_runtime_max_concurrent_reconciles",
        "controller_runtime_active_workers",
        "workqueue_depth",
        "workqueue_adds_total",
        "workqueue_queue_duration_seconds_bucket",
        "workqueue_work_duration_seconds_bucket",
        "workqueue_unfinished_work_seconds",
        "workqueue_longest_running_processor_seconds",
        "workqueue_retries_total",
    ):
        assert f'\n{name}{{controller="c"' in text, name
    assert 'leader_election_master_status{name="stoker-controller"} 1.0' in text
