"""What only events say: asked for when a pod does not come up, and not else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controller import event_lookup
from controller.event_lookup import EVENTS
from stoker.kube.resource import PODS, Key
from stoker.kube.verbs import ObjectList
from tests.controller.world import World, eventually, ready

pytestmark = pytest.mark.apiserver

WORDS = 'MountVolume.SetUp failed for volume "prompts" : configmap "prompts" not found'


def creating(pod: dict[str, Any]) -> dict[str, Any]:
    when = {"lastTransitionTime": "2026-01-01T00:00:00Z"}
    container = {
        "name": "kserve-container",
        "image": "x",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"waiting": {"reason": "ContainerCreating"}},
    }
    return {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "True", **when}],
        "containerStatuses": [container],
    }


async def tell(world: World, reason: str, message: str) -> None:
    """Say something of the first pod, as the kubelet does."""

    async def made() -> bool:
        return "a-predictor-00001" in await world.pods()

    await eventually(made)
    [name] = (await world.pods())["a-predictor-00001"]
    pod = await world.client.get(PODS, Key(world.namespace, name))
    about = {"apiVersion": "v1", "kind": "Pod", "namespace": world.namespace, "name": name}
    event = {
        "metadata": {"name": f"{name}.{reason.lower()}", "namespace": world.namespace},
        "involvedObject": about | {"uid": pod["metadata"]["uid"]},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "lastTimestamp": "2026-01-01T00:00:05Z",
    }
    await world.client.create(EVENTS, event)


async def test_a_volume_that_cannot_be_mounted_is_told_and_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_lookup, "_LONGEST", 0.2)
    world.fates["a-predictor-00001"] = creating
    async with world.nodes():
        async with world.controller() as wire:
            await world.apply("a")
            await world.reason("a", "Creating")
            await tell(world, "FailedMount", WORDS)
            condition = await world.reason("a", "FailedMount")
            assert condition["status"] == "False"
            assert WORDS in condition["message"]
            await world.quiet(wire)
        async with world.controller() as wire:
            await world.quiet(wire)
            assert wire.sent == [], "a restart knows it before it judges"
            world.fates["a-predictor-00001"] = ready
            status = await world.ready("a")
            assert "lastFailureInfo" not in status["modelStatus"]


async def test_a_pod_that_comes_up_costs_no_lookup(world: World) -> None:
    asked: list[str] = []

    async with world.controller() as wire, world.nodes():
        send = wire.inner.send

        async def spy(request: Any, timeout: Any) -> Any:
            if request.path.startswith(EVENTS.path(world.namespace)):
                asked.append(f"{request.method} {request.path}")
            return await send(request, timeout)

        wire.inner.send = spy
        await world.apply("a")
        await world.ready("a")
        await asyncio.sleep(1.5)
        assert asked == []


async def test_what_cannot_be_asked_is_unknown(world: World) -> None:
    world.fates["a-predictor-00001"] = creating

    async with world.controller() as wire, world.nodes():
        send, refused = wire.inner.send, 0

        async def refuse(request: Any, timeout: Any) -> Any:
            nonlocal refused
            if request.path.startswith(EVENTS.path(world.namespace)):
                refused += 1
                raise ConnectionResetError
            return await send(request, timeout)

        wire.inner.send = refuse
        await world.apply("a")

        async def asked() -> bool:
            return refused > 0

        await eventually(asked)
        assert (await world.reason("a", "Creating"))["status"] == "Unknown"


class TestBackOff:
    """How often a pod that does not come up is asked about."""

    @pytest.mark.looptime
    async def test_less_and_less_often_and_at_once_after_a_restart(self) -> None:
        loop = asyncio.get_running_loop()
        pod = {
            "metadata": {"uid": "u", "name": "p", "namespace": "n"},
            "status": creating({}),
        }
        asked: list[float] = []

        class Server:
            async def list(self, *_: Any, **__: Any) -> Any:
                asked.append(loop.time() - begun)
                return ObjectList([], "1")

        class Pods:
            def list(self) -> list[Any]:
                return [pod]

        begun = loop.time()
        lookup = event_lookup.EventLookup(Server(), Pods(), changed=lambda _: None)  # type: ignore[arg-type]
        async with lookup.running():
            await asyncio.sleep(200)
            assert [round(each) for each in asked] == [0, 5, 15, 35, 75, 135, 195]
            pod["status"]["containerStatuses"][0]["restartCount"] = 1
            await asyncio.sleep(2)
            assert len(asked) == 8, "a restart is news"
            pod["status"]["conditions"].append({"type": "Ready", "status": "True"})
            await asyncio.sleep(600)
            assert len(asked) == 8, "a ready pod is not asked about"
