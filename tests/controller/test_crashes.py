"""The controller's process dies before or after any write; the next one goes on, and the end is the same."""

from __future__ import annotations

import asyncio

import pytest

from stoker.kube.resource import CONTROLLER_REVISIONS, DEPLOYMENTS, SERVICES
from tests.controller.world import World

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]

# Writes of a create and of an update; at least as many as the reference run makes.
CREATE_WRITES = 5
UPDATE_WRITES = 8


async def crash(world: World, name: str, revision: int, at: int, after_commit: bool) -> bool:
    """Run the controller until it dies at its write number `at`, or is done; whether it died."""
    async with world.controller(crash_at=at, after_commit=after_commit) as wire:
        dying = asyncio.create_task(wire.crashed.wait())
        done = asyncio.create_task(world.ready(name, revision))
        await asyncio.wait([dying, done], return_when=asyncio.FIRST_COMPLETED, timeout=20)
        for task in (dying, done):
            task.cancel()
        await asyncio.gather(dying, done, return_exceptions=True)
        return wire.crashed.is_set()


@pytest.mark.parametrize("after_commit", [False, True], ids=["before", "after"])
async def test_a_create_goes_on_after_a_crash_at_any_write(world: World, after_commit: bool) -> None:
    crashes = 0
    async with world.nodes():
        for at in range(1, CREATE_WRITES + 1):
            name = f"s{at}"
            await world.apply(name)
            crashes += await crash(world, name, 1, at, after_commit)
            async with world.controller() as wire:
                await world.ready(name)
                await world.quiet(wire, 0.3)
    assert crashes >= 4
    services = [f"s{at}" for at in range(1, CREATE_WRITES + 1)]
    for resource in (DEPLOYMENTS, CONTROLLER_REVISIONS):
        assert await world.names(resource) == [f"{name}-predictor-00001" for name in services]
    assert await world.names(SERVICES) == [f"{name}-predictor" for name in services]


@pytest.mark.parametrize("after_commit", [False, True], ids=["before", "after"])
async def test_an_update_goes_on_after_a_crash_at_any_write(world: World, after_commit: bool) -> None:
    crashes = 0
    async with world.nodes():
        async with world.controller():
            await world.apply("a")
            await world.ready("a")
        for at in range(1, UPDATE_WRITES + 1):
            await world.apply("a", f"--seed={at}")
            crashes += await crash(world, "a", at + 1, at, after_commit)
            assert await serving(world), "some pod serves while the controller is dead"
            async with world.controller() as wire:
                await world.ready("a", at + 1)
                await world.quiet(wire, 0.3)
                assert await world.names(DEPLOYMENTS) == [f"a-predictor-{at + 1:05d}"]
    assert crashes >= 6
    assert await world.names(SERVICES) == ["a-predictor"]


async def serving(world: World) -> bool:
    from stoker.kube.resource import PODS
    from stoker.serving.status.pods import is_ready

    return any(is_ready(pod) for pod in (await world.client.list(PODS, namespace=world.namespace)).items)
