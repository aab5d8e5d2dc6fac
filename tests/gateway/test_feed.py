from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gateway.feed import SETTLE_SECONDS, Feed
from gateway.metrics import GatewayMetrics
from gateway.resources import CLUSTER
from gateway.snapshot import Options, Snapshot
from tests.gateway.objects import Object, inference_service, pod

pytestmark = pytest.mark.looptime


class _Source:
    """An informer whose cache the test writes."""

    def __init__(self) -> None:
        self.synced = asyncio.Event()
        self.objects: list[Object] = []
        self.handlers: list[Callable[[Object | None, Object | None], None]] = []

    def list(self) -> list[Object]:
        return list(self.objects)

    def on_change(self, fn: Callable[[Object | None, Object | None], None]) -> None:
        self.handlers.append(fn)

    def add(self, *objects: Object) -> None:
        for obj in objects:
            self.objects.append(obj)
            for handler in self.handlers:
                handler(None, obj)


class _World:
    def __init__(self) -> None:
        self.services, self.pods = _Source(), _Source()
        self.metrics = GatewayMetrics()
        self.published: list[Snapshot] = []
        self.fails = False
        self.feed = Feed(self.services, self.pods, Options(), self._publish, self.metrics)

    def _publish(self, snapshot: Snapshot) -> None:
        if self.fails:
            raise ValueError("cannot be encoded")
        self.published.append(snapshot)

    async def run(self) -> asyncio.Task[None]:
        self.services.synced.set()
        self.pods.synced.set()
        task = asyncio.create_task(self.feed.run())
        await self.feed.published.wait()
        return task


async def test_half_of_the_picture_is_not_published() -> None:
    world = _World()
    task = asyncio.create_task(world.feed.run())
    world.services.add(inference_service("a"))
    world.services.synced.set()
    await asyncio.sleep(60)
    assert world.published == []
    assert not world.feed.published.is_set()
    world.pods.synced.set()
    await asyncio.wait_for(world.feed.published.wait(), 1)
    task.cancel()


async def test_a_burst_of_changes_is_one_snapshot() -> None:
    world = _World()
    task = await world.run()
    await asyncio.sleep(10)
    world.services.add(inference_service("a", {"a-1": 100}))
    for n in range(50):
        world.pods.add(pod("a", "a-1", f"10.0.0.{n}"))
    await asyncio.sleep(10)
    assert len(world.published) == 2
    assert list(world.published[-1].by_type[CLUSTER]) == ["default/a/a-1"]
    task.cancel()


async def test_a_change_is_published_within_the_settling_time_however_many_follow() -> None:
    world = _World()
    task = await world.run()
    await asyncio.sleep(10)
    for n in range(20):
        world.pods.add(pod("a", "a-1", f"10.0.0.{n}"))
        world.services.add(inference_service(f"s{n}"))
        await asyncio.sleep(SETTLE_SECONDS / 2)
    assert len(world.published) > 3
    task.cancel()


async def test_a_change_that_changes_nothing_for_envoy_is_not_published() -> None:
    world = _World()
    task = await world.run()
    await asyncio.sleep(10)
    world.pods.add(pod("nobody-s", "nobody-s-1"))
    await asyncio.sleep(10)
    assert len(world.published) == 1
    task.cancel()


async def test_a_failure_leaves_the_last_one_and_the_next_change_tries_again() -> None:
    world = _World()
    task = await world.run()
    world.fails = True
    world.services.add(inference_service("a"))
    await asyncio.sleep(10)
    assert len(world.published) == 1
    assert world.metrics.registry.get_sample_value("stoker_gateway_snapshot_errors_total") == 1
    world.fails = False
    world.services.add(inference_service("b"))
    await asyncio.sleep(10)
    assert len(world.published) == 2
    task.cancel()
