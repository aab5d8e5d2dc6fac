"""What the controller costs the API server, counted request by request."""

from __future__ import annotations

from typing import Any

import pytest

from controller.resources import SERVING_RUNTIMES
from stoker.kube.resource import DEPLOYMENTS, PODS, Key
from tests.controller.world import CHILDREN, World, eventually, ready, runtime

pytestmark = pytest.mark.apiserver


async def versions(world: World) -> dict[str, Any]:
    """resourceVersions of everything that the controller may write."""
    found = {}
    for resource in CHILDREN:
        for obj in (await world.client.list(resource, namespace=world.namespace)).items:
            found[f"{resource.plural}/{obj['metadata']['name']}"] = obj["metadata"]["resourceVersion"]
    for name in await world.names(DEPLOYMENTS):
        service = name.removesuffix("-predictor-00001")
        found[service] = (await world.service(service))["metadata"]["resourceVersion"]
    return found


async def test_a_new_service_costs_four_requests_until_its_first_status(world: World) -> None:
    async with world.controller() as wire:
        await world.apply("a")
        await world.reason("a", "Creating")
        await world.quiet(wire)
    prefix = f"/namespaces/{world.namespace}"
    assert [each.replace(prefix, "") for each in wire.sent] == [
        "POST /apis/apps/v1/controllerrevisions",
        "PATCH /api/v1/services/a-predictor",
        "PATCH /apis/apps/v1/deployments/a-predictor-00001",
        "PATCH /apis/serving.kserve.io/v1beta1/inferenceservices/a/status",
    ]


async def test_many_new_services_cost_no_more_each(world: World) -> None:
    async with world.controller() as wire:
        for number in range(10):
            await world.apply(f"s{number}")
        for number in range(10):
            await world.reason(f"s{number}", "Creating")
        await world.quiet(wire)
    assert len(wire.sent) == 4 * 10


async def test_nothing_changed_nothing_sent(world: World) -> None:
    async with world.controller() as wire, world.nodes():
        await world.apply("a", minReplicas=2)
        await world.ready("a")
        await world.quiet(wire)
        wire.sent.clear()
        # Writes of others that are none of the controller's business.
        await world.client.merge_patch(
            DEPLOYMENTS, Key(world.namespace, "a-predictor-00001"), {"metadata": {"annotations": {"x": "y"}}}
        )
        for names in (await world.pods()).values():
            patch = {"metadata": {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}}}
            await world.client.merge_patch(PODS, Key(world.namespace, names[0]), patch)
        await world.client.apply(SERVING_RUNTIMES, runtime(world.namespace, "another"))
        await world.quiet(wire)
        assert wire.sent == []


async def test_a_restart_writes_nothing(world: World) -> None:
    async with world.nodes():
        async with world.controller() as wire:
            await world.apply("a", minReplicas=2)
            await world.apply("b")
            await world.ready("a")
            await world.ready("b")
            await world.quiet(wire)
        before = await versions(world)
        async with world.controller() as wire:
            await world.quiet(wire)
            assert wire.sent == []
        assert await versions(world) == before


async def test_a_restart_of_a_failing_service_writes_nothing(world: World) -> None:
    from tests.controller.world import crashing

    world.fates["a-predictor-00001"] = crashing("boom", 3)
    async with world.nodes():
        async with world.controller() as wire:
            await world.apply("a")
            await world.reason("a", "CrashLoopBackOff")
            await world.quiet(wire)
        before = await versions(world)
        async with world.controller() as wire:
            await world.quiet(wire)
            assert wire.sent == []
        assert await versions(world) == before


async def test_an_edited_runtime_rolls_nothing_and_a_restart_does_not_either(world: World) -> None:
    async with world.nodes():
        async with world.controller() as wire:
            await world.apply("a")
            await world.ready("a")
            await world.quiet(wire)
            before = await versions(world)
            wire.sent.clear()
            edited = runtime(
                world.namespace, "echo", image="stoker.dev/runtime:other", args=["--x={{.Labels.no}}"]
            )
            await world.client.apply(SERVING_RUNTIMES, edited)
            await world.quiet(wire)
            await world.client.delete(SERVING_RUNTIMES, Key(world.namespace, "echo"))
            await world.quiet(wire)
            assert wire.sent == []
        async with world.controller() as wire:
            await world.quiet(wire)
            assert wire.sent == []
        assert await versions(world) == before


async def test_unrelated_metadata_rolls_nothing(world: World) -> None:
    from controller.resources import INFERENCE_SERVICES

    async with world.controller() as wire, world.nodes():
        await world.apply("a")
        await world.ready("a")
        await world.quiet(wire)
        wire.sent.clear()
        metadata = {"labels": {"team": "red"}, "annotations": {"note": "hello"}}
        await world.client.merge_patch(INFERENCE_SERVICES, Key(world.namespace, "a"), {"metadata": metadata})
        await world.quiet(wire)
        assert wire.sent == []


async def test_scaling_costs_a_deployment_a_budget_and_statuses(world: World) -> None:
    async with world.controller() as wire, world.nodes():
        await world.apply("a")
        await world.ready("a")
        await world.quiet(wire)
        wire.sent.clear()
        await world.apply("a", minReplicas=2)

        async def two() -> bool:
            return bool((await world.status("a"))["summary"]["replicas"] == "2/2")

        await eventually(two)
        await world.quiet(wire)
    kinds = [each.split("/")[-1 if each.endswith("/status") else -2] for each in wire.sent]
    assert sorted(set(kinds)) == ["deployments", "poddisruptionbudgets", "status"]
    assert kinds.count("deployments") == 1
    assert ready is not None
