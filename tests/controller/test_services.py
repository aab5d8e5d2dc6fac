"""InferenceServices come, change, fail and go, on a real API server."""

from __future__ import annotations

import pytest

from stoker.kube.resource import CONTROLLER_REVISIONS, DEPLOYMENTS, POD_DISRUPTION_BUDGETS, SERVICES, Key
from tests.controller.world import World, crashing, eventually, starting

pytestmark = pytest.mark.apiserver


async def test_a_new_service_gets_children_and_a_status_at_once(world: World) -> None:
    async with world.controller():
        await world.apply("a")
        condition = await world.reason("a", "Creating")
    assert condition["status"] == "Unknown"
    assert await world.names(DEPLOYMENTS) == ["a-predictor-00001"]
    assert await world.names(SERVICES) == ["a-predictor"]
    assert await world.names(CONTROLLER_REVISIONS) == ["a-predictor-00001"]
    assert await world.names(POD_DISRUPTION_BUDGETS) == []
    status = await world.status("a")
    assert status["observedGeneration"] == 1
    assert status["url"] == f"http://a.{world.namespace}.example.com"
    assert status["address"] == {"url": f"http://a-predictor.{world.namespace}.svc.cluster.local"}
    assert status["servingRuntimeName"] == "echo"
    assert status["summary"] == {"reason": "Creating", "replicas": "0/1", "runtime": "echo", "model": "a"}
    assert (
        "traffic" not in status["components"]["predictor"] or not status["components"]["predictor"]["traffic"]
    )
    assert {each["type"] for each in status["conditions"]} == {
        "PredictorReady",
        "IngressReady",
        "LatestDeploymentReady",
        "Ready",
        "Reconciling",
    }


async def test_it_becomes_ready_with_its_pods(world: World) -> None:
    world.fates["a-predictor-00001"] = starting
    async with world.controller(), world.nodes():
        await world.apply("a", minReplicas=2)
        await world.reason("a", "Starting")
        del world.fates["a-predictor-00001"]
        status = await world.ready("a")
    predictor = status["components"]["predictor"]
    assert predictor["traffic"] == [
        {"revisionName": "a-predictor-00001", "latestRevision": True, "percent": 100}
    ]
    assert predictor["latestReadyRevision"] == predictor["latestRolledoutRevision"] == "a-predictor-00001"
    assert status["modelStatus"] == {
        "transitionStatus": "UpToDate",
        "states": {"activeModelState": "Loaded", "targetModelState": "Loaded"},
        "copies": {"failedCopies": 0, "totalCopies": 2},
    }
    assert status["summary"]["replicas"] == "2/2"
    assert await world.names(POD_DISRUPTION_BUDGETS) == ["a-predictor"]


async def test_an_update_makes_the_next_revision_and_the_old_one_goes(world: World) -> None:
    async with world.controller(), world.nodes():
        await world.apply("a")
        await world.ready("a")
        world.fates["a-predictor-00002"] = starting
        await world.apply("a", "--backend=huggingface")
        await world.reason("a", "Starting")
        status = await world.status("a")
        assert status["components"]["predictor"]["traffic"] == [
            {"revisionName": "a-predictor-00001", "latestRevision": True, "percent": 100}
        ], "the old one keeps its route"
        assert (await world.condition("a", "PredictorReady"))["status"] == "True"
        assert "a-predictor-00001 still serves" in (await world.condition("a"))["message"]
        del world.fates["a-predictor-00002"]
        status = await world.ready("a", 2)
        assert await world.names(DEPLOYMENTS) == ["a-predictor-00002"]
    predictor = status["components"]["predictor"]
    assert predictor["traffic"] == [
        {"revisionName": "a-predictor-00002", "latestRevision": True, "percent": 100}
    ]
    assert predictor["previousRolledoutRevision"] == "a-predictor-00001"


async def test_a_failed_update_leaves_the_old_revision_and_going_back_reuses_it(world: World) -> None:
    async with world.controller(), world.nodes():
        await world.apply("a")
        await world.ready("a")
        world.fates["a-predictor-00002"] = crashing("Traceback\nValueError: no such model", 3)
        await world.apply("a", "--model_id=nobody/nothing")
        condition = await world.reason("a", "CrashLoopBackOff")
        assert condition["status"] == "False"
        assert "exit code 3: ValueError: no such model" in condition["message"]
        assert "a-predictor-00001 still serves" in condition["message"]
        status = await world.status("a")
        assert status["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
        assert status["modelStatus"]["lastFailureInfo"]["exitCode"] == 3
        assert len((await world.pods())["a-predictor-00001"]) == 1

        await world.apply("a")
        status = await world.ready("a", 1)
        assert "lastFailureInfo" not in status["modelStatus"], "cleared with the failure"
        assert await world.names(DEPLOYMENTS) == ["a-predictor-00001"]
        assert await world.names(CONTROLLER_REVISIONS) == ["a-predictor-00001", "a-predictor-00002"]


async def test_a_delete_is_left_to_the_garbage_collector(world: World) -> None:
    from controller.resources import INFERENCE_SERVICES

    async with world.controller() as wire, world.nodes():
        await world.apply("a")
        await world.ready("a")
        await world.quiet(wire)
        wire.sent.clear()
        await world.client.delete(INFERENCE_SERVICES, Key(world.namespace, "a"))
        await world.quiet(wire)
    assert wire.sent == []
    for resource in (DEPLOYMENTS, SERVICES, CONTROLLER_REVISIONS):
        for obj in (await world.client.list(resource, namespace=world.namespace)).items:
            [owner] = obj["metadata"]["ownerReferences"]
            assert (owner["kind"], owner["name"], owner["controller"]) == ("InferenceService", "a", True)


async def test_hand_edits_and_deletions_are_repaired_as_they_were(world: World) -> None:
    async with world.controller(), world.nodes():
        await world.apply("a")
        await world.ready("a")
        key = Key(world.namespace, "a-predictor-00001")
        before = await world.client.get(DEPLOYMENTS, key)
        await world.client.merge_patch(
            DEPLOYMENTS, key, {"spec": {"replicas": 7}, "metadata": {"labels": {"x": "y"}}}
        )

        async def repaired() -> bool:
            return bool((await world.client.get(DEPLOYMENTS, key))["spec"] == before["spec"])

        await eventually(repaired, seconds=5)
        assert (await world.client.get(DEPLOYMENTS, key))["metadata"]["labels"]["x"] == "y", "kept: not ours"
        await world.client.delete(DEPLOYMENTS, key)
        await world.client.delete(SERVICES, Key(world.namespace, "a-predictor"))

        async def back() -> bool:
            return await world.names(DEPLOYMENTS) == [key.name] and await world.names(SERVICES) == [
                "a-predictor"
            ]

        await eventually(back, seconds=5)
        assert (await world.client.get(DEPLOYMENTS, key))["spec"] == before["spec"]
