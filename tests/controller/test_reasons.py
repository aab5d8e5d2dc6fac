"""Why it is not ready: runtimes, names that are taken, the gateway, state documents, and the events told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from controller import state_poll
from controller.resources import INFERENCE_SERVICES, SERVING_RUNTIMES
from stoker.kube.resource import DEPLOYMENTS, EVENTS, PODS, SERVICES, Key, Resource
from tests.controller.world import World, eventually, isvc, ready, runtime, starting, unschedulable

pytestmark = pytest.mark.apiserver

QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")


async def test_no_runtime_names_each_candidate_and_one_made_later_helps(world: World) -> None:
    async with world.controller(), world.nodes():
        await world.apply("a", model={"modelFormat": {"name": "sklearn"}})
        condition = await world.reason("a", "NoSupportingRuntime")
        assert condition["status"] == "False"
        assert "ServingRuntime echo" in condition["message"]
        status = await world.status("a")
        assert status["modelStatus"]["transitionStatus"] == "InvalidSpec"
        assert status["modelStatus"]["lastFailureInfo"]["reason"] == "NoSupportingRuntime"
        late = runtime(world.namespace, "late")
        late["spec"]["supportedModelFormats"] = [{"name": "sklearn", "autoSelect": True}]
        await world.client.apply(SERVING_RUNTIMES, late)
        status = await world.ready("a")
        assert status["servingRuntimeName"] == "late"
        await world.client.delete(SERVING_RUNTIMES, Key(world.namespace, "late"))


async def test_a_spec_that_cannot_be_rendered_leaves_what_serves(world: World) -> None:
    async with world.controller(), world.nodes():
        await world.apply("a")
        await world.ready("a")
        await world.apply("a", model={"runtime": "nobody"})
        condition = await world.reason("a", "RuntimeNotRecognized")
        assert condition["status"] == "False"
        assert "nobody" in condition["message"]
        assert "a-predictor-00001 still serves" in condition["message"]
        assert (await world.condition("a", "PredictorReady"))["status"] == "True"
        status = await world.status("a")
        assert status["observedGeneration"] == 2
        assert status["components"]["predictor"]["traffic"][0]["revisionName"] == "a-predictor-00001"
        assert len((await world.pods())["a-predictor-00001"]) == 1


async def test_the_schedulers_words(world: World) -> None:
    words = "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. no new claims to deallocate"
    world.fates["a-predictor-00001"] = unschedulable(words)
    async with world.controller(), world.nodes():
        await world.apply("a")
        condition = await world.reason("a", "Unschedulable")
    assert condition["status"] == "False"
    assert words in condition["message"]


async def test_a_name_that_is_taken_is_not_taken_away(world: World) -> None:
    theirs = {
        "metadata": {"name": "a-predictor", "namespace": world.namespace},
        "spec": {"selector": {"app": "mine"}, "ports": [{"port": 80, "name": "web"}]},
    }
    await world.client.create(SERVICES, theirs)
    async with world.controller():
        await world.apply("a")
        condition = await world.reason("a", "ReconcileFailed")
    assert "Service a-predictor exists and is not Stoker's" in condition["message"]
    live = await world.client.get(SERVICES, Key(world.namespace, "a-predictor"))
    assert live["spec"]["selector"] == {"app": "mine"}


async def test_objects_of_an_earlier_service_of_the_name_are_waited_for(world: World) -> None:
    async with world.controller(), world.nodes():
        await world.apply("a")
        await world.ready("a")
        await world.client.delete(INFERENCE_SERVICES, Key(world.namespace, "a"))
        await world.apply("a")
        condition = await world.reason("a", "ReconcileFailed")
        assert "still belongs to an earlier InferenceService of this name" in condition["message"]
        assert (await world.status("a"))["summary"]["replicas"] == "0/1", "its pods are not ours"
        from tests.controller.world import CHILDREN

        for resource in CHILDREN:  # the garbage collector
            for name in await world.names(resource):
                await world.client.delete(resource, Key(world.namespace, name))
        await world.ready("a")


async def test_an_object_that_the_api_server_refuses_is_told(world: World) -> None:
    none = {"hard": {"count/deployments.apps": "0"}}
    key = Key(world.namespace, "none")
    await world.client.create(
        QUOTAS, {"metadata": dict(zip(("namespace", "name"), key, strict=True)), "spec": none}
    )
    status = none | {"used": {"count/deployments.apps": "0"}}
    await world.client.merge_patch(QUOTAS, key, {"status": status}, subresource="status")
    async with world.controller():
        await world.apply("a")
        condition = await world.reason("a", "ReconcileFailed")
    assert "exceeded quota: none" in condition["message"]


async def test_what_the_webhook_would_have_refused_is_told_with_its_path(world: World) -> None:
    async with world.controller():
        await world.apply("a", nodeSelector={"not a label": "x"})
        condition = await world.reason("a", "InvalidPredictorSpec")
    assert "spec.predictor.nodeSelector[not a label]" in condition["message"]


async def test_without_a_gateway_it_is_not_ready(world: World) -> None:
    gateway = {
        "metadata": {"name": "gateway", "namespace": world.namespace, "labels": {"app": "gateway"}},
        "spec": {"containers": [{"name": "envoy", "image": "envoy"}]},
    }
    async with world.controller(gateway="app=gateway"), world.nodes():
        await world.apply("a")
        condition = await world.reason("a", "GatewayNotReady")
        assert condition["status"] == "False"

        async def serves() -> bool:
            return bool((await world.condition("a", "PredictorReady")).get("status") == "True")

        await eventually(serves)
        pod = await world.client.create(PODS, gateway)
        key = Key(world.namespace, "gateway")
        await world.client.merge_patch(PODS, key, {"status": ready(pod)}, subresource="status")
        await world.ready("a")
        await world.client.delete(PODS, key)
        await world.reason("a", "GatewayNotReady")


class Runtime:
    """A pod's HTTP server on this machine."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"phase": "Starting"}
        self.asked = 0
        self.late = 0  # how many answers from now on come too late
        self.busy = asyncio.Event()

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        if self.late:
            self.late -= 1
            await self.busy.wait()
        return web.json_response(self.state)


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Runtime]:
    made = Runtime()
    app = web.Application()
    app.router.add_get("/stoker/v1/state", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setattr(state_poll, "PORT", runner.addresses[0][1])
    yield made
    made.busy.set()
    await runner.cleanup()


async def test_the_state_document_is_polled_until_ready_and_told(world: World, served: Runtime) -> None:
    world.fates["a-predictor-00001"] = lambda pod: starting(pod) | {"podIP": "127.0.0.1"}
    async with world.controller() as wire, world.nodes():
        await world.apply("a")
        served.state = {"phase": "Fetching", "progress": {"done": 43, "total": 100, "unit": "bytes"}}
        condition = await world.reason("a", "Fetching")
        assert condition["status"] == "Unknown"
        assert "the model is being fetched, 40%" in condition["message"]
        served.state = {"phase": "Fetching", "progress": {"done": 44, "total": 100, "unit": "bytes"}}
        await world.quiet(wire)
        wire.sent.clear()
        served.state = {"phase": "Fetching", "progress": {"done": 49, "total": 100, "unit": "bytes"}}
        await world.quiet(wire)
        assert wire.sent == [], "a status is not written for each percent"
        served.state = {
            "phase": "Failed",
            "error": {"reason": "HubUnreachable", "message": "huggingface.co cannot be reached for x/y"},
        }
        condition = await world.reason("a", "HubUnreachable")
        assert condition["status"] == "False"
        assert "huggingface.co cannot be reached for x/y" in condition["message"]
        world.fates["a-predictor-00001"] = lambda pod: ready(pod) | {"podIP": "127.0.0.1"}
        served.state = {"phase": "Ready"}
        await world.ready("a")
        await asyncio.sleep(0.3)
        asked = served.asked
        await asyncio.sleep(0.5)
        assert served.asked == asked, "a ready pod is not polled"


async def test_a_ready_pod_that_answers_late_is_asked_again(
    world: World, served: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or its backend and cold start would never be told: pods that are ready are not asked otherwise."""
    monkeypatch.setattr(state_poll, "_SECONDS", 0.1)
    served.late = 2
    served.state = {"phase": "Ready", "backend": {"name": "vllm", "reason": "Default"}}
    world.fates["a-predictor-00001"] = lambda pod: ready(pod) | {"podIP": "127.0.0.1"}
    async with world.controller(), world.nodes():
        await world.apply("a")

        async def told() -> bool:
            return bool(((await world.status("a")).get("backend") or {}).get("name") == "vllm")

        await eventually(told)


async def test_a_pod_that_cannot_be_asked_is_unknown(world: World) -> None:
    world.fates["a-predictor-00001"] = lambda pod: starting(pod) | {"podIP": "127.0.0.1"}
    async with world.controller(), world.nodes():
        await world.apply("a")
        condition = await world.reason("a", "Starting")
        assert condition["status"] == "Unknown"


async def test_events_tell_the_story_once(world: World) -> None:
    async with world.nodes():
        async with world.controller():
            await world.apply("a")
            await world.ready("a")
        async with world.controller() as wire:
            await world.quiet(wire)

        async def told() -> bool:
            events = (await world.client.list(EVENTS, namespace=world.namespace)).items
            return "Ready" in [each["reason"] for each in events]

        await eventually(told)
        events = (await world.client.list(EVENTS, namespace=world.namespace)).items
        reasons = [each["reason"] for each in events if each["regarding"]["name"] == "a"]
        assert sorted(reasons) == sorted(set(reasons))
        assert {"RevisionCreated", "TrafficMoved", "Ready"} <= set(reasons)


async def test_one_bad_object_does_not_stop_the_others(world: World) -> None:
    async with world.controller(), world.nodes():
        bad = isvc(world.namespace, "bad")
        bad["spec"]["predictor"] = {
            "model": {"modelFormat": {"name": "huggingface"}, "args": ["--x={{.Labels.no}}"]}
        }
        await world.client.apply(INFERENCE_SERVICES, bad)
        await world.apply("good")
        condition = await world.reason("bad", "InvalidPredictorSpec")
        assert "no" in condition["message"]
        await world.ready("good")
        assert world.metrics is not None
        exposed = world.metrics.exposition().decode()
    where = f'name="good",namespace="{world.namespace}"'
    assert f"stoker_inferenceservice_ready{{{where}}} 1.0" in exposed
    assert 'stoker_controller_spec_problems{reason="InvalidPredictorSpec"} 1.0' in exposed
    assert 'controller_runtime_reconcile_total{controller="inferenceservice",result="success"}' in exposed
    assert await world.names(DEPLOYMENTS) == ["good-predictor-00001"]
