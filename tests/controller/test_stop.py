"""An InferenceService that is asked to have no pods, on a real API server."""

from __future__ import annotations

import pytest

from controller.resources import INFERENCE_SERVICES
from stoker.kube.resource import CONTROLLER_REVISIONS, DEPLOYMENTS, POD_DISRUPTION_BUDGETS, SERVICES, Key
from stoker.serving.names import STOP_ANNOTATION
from tests.controller.world import World, eventually, isvc

pytestmark = pytest.mark.apiserver


async def annotate(world: World, value: str | None) -> None:
    patch = {"metadata": {"annotations": {STOP_ANNOTATION: value}}}
    await world.client.merge_patch(INFERENCE_SERVICES, Key(world.namespace, "a"), patch)


async def test_a_stopped_service_has_no_children_and_comes_back_as_it_was(world: World) -> None:
    async with world.controller(), world.nodes():
        await world.apply("a", minReplicas=2)
        await world.ready("a")
        before = await world.client.get(CONTROLLER_REVISIONS, Key(world.namespace, "a-predictor-00001"))
        await annotate(world, "True")

        async def gone() -> bool:
            return not await world.pods() and (await world.status("a"))["summary"]["replicas"] == "0/0"

        await eventually(gone)
        for kind in (DEPLOYMENTS, SERVICES, POD_DISRUPTION_BUDGETS):
            assert await world.names(kind) == [], kind.kind
        status = await world.status("a")
        said = {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}
        assert said["Stopped"] == ("True", "Stopped")
        assert said["Ready"] == said["PredictorReady"] == ("False", "Stopped")
        assert not said.keys() & {"Reconciling", "Stalled"}, "nothing is left to do"
        assert status["components"]["predictor"]["traffic"] == []
        assert "lastFailureInfo" not in status["modelStatus"]
        await annotate(world, None)
        status = await world.ready("a")
    assert "Stopped" not in {each["type"] for each in status["conditions"]}
    assert await world.names(DEPLOYMENTS) == ["a-predictor-00001"]
    assert await world.names(POD_DISRUPTION_BUDGETS) == ["a-predictor"]
    after = await world.client.get(CONTROLLER_REVISIONS, Key(world.namespace, "a-predictor-00001"))
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


async def test_a_service_made_stopped_has_no_revision_until_it_starts(world: World) -> None:
    obj = isvc(world.namespace, "a")
    obj["metadata"]["annotations"] = {STOP_ANNOTATION: "true"}
    async with world.controller(), world.nodes():
        await world.client.apply(INFERENCE_SERVICES, obj)

        async def stopped() -> bool:
            return (await world.condition("a", "Stopped")).get("status") == "True"

        await eventually(stopped)
        assert await world.names(DEPLOYMENTS) == await world.names(CONTROLLER_REVISIONS) == []
        await annotate(world, "false")
        await world.ready("a")
