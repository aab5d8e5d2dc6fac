"""The parts together, composed as programs compose them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from stoker.kube.client import Client
from stoker.kube.control_loop import ControlLoop, Result
from stoker.kube.difference import covers
from stoker.kube.informer import Informer
from stoker.kube.lease import LeaderLease, LeaderLost, LeaseConfig
from stoker.kube.resource import CONFIG_MAPS, Key, Object, key_of
from tests.kube.faults import FaultServer, drop, refuse
from tests.kube.test_informer import Quick
from tests.kube.test_lease import Store, StoreClient, config, never, now

LABEL = "copy=wanted"


class Copier:
    """For each ConfigMap that asks for it, a child with the same data: a controller in small."""

    def __init__(self, client: Client, sources: Informer, children: Informer) -> None:
        self.client = client
        self.sources = sources
        self.children = children

    async def reconcile(self, key: Key) -> Result:
        source = self.sources.get(key)
        child = Key(key.namespace, f"{key.name}-copy")
        if source is None:
            stale = self.children.get(child)
            if stale is not None:
                await self.client.delete(CONFIG_MAPS, child, uid=stale["metadata"]["uid"])
            return Result()
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": key.name, "controller": True}
        metadata: Object = {"namespace": key.namespace, "name": child.name, "labels": {"copy": "made"}}
        owner["uid"] = source["metadata"]["uid"]
        wanted: Object = {
            "metadata": {**metadata, "ownerReferences": [owner]},
            "data": source.get("data", {}),
        }
        live = self.children.get(child)
        if live is None or not covers(live, wanted):
            await self.client.apply(CONFIG_MAPS, wanted)
        return Result()


class Program:
    """Caches, lease, loop; in that order, and back."""

    def __init__(self, client: Client, namespace: str, identity: str) -> None:
        self.lease = LeaderLease(client, LeaseConfig(namespace, "copier", identity, retry_period=0.2))
        selection: dict[str, Any] = {"namespace": namespace, "backoff": Quick()}
        self.sources = Informer(client, CONFIG_MAPS, label_selector=LABEL, **selection)
        self.children = Informer(client, CONFIG_MAPS, label_selector="copy=made", **selection)
        reconciler = Copier(client.fenced(self.lease.check), self.sources, self.children)
        self.loop = ControlLoop("copier", reconciler, workers=2)
        self.loop.watch_for(self.sources)
        self.loop.owns(self.children, CONFIG_MAPS)
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with (
            self.sources.running(),
            self.children.running(),
            self.lease.held(),
            self.loop.running(),
        ):
            await asyncio.Event().wait()

    async def stop(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


async def settled(kube: Client, namespace: str, wanted: dict[str, str]) -> None:
    async with asyncio.timeout(20):
        while True:
            found = await kube.list(CONFIG_MAPS, namespace=namespace, label_selector="copy=made")
            if {obj["metadata"]["name"]: obj["data"]["is"] for obj in found.items} == wanted:
                return
            await asyncio.sleep(0.05)


@pytest.mark.apiserver
async def test_a_controller_under_faults_and_its_successor(
    kube: Client, namespace: str, proxied: Client, proxy: FaultServer
) -> None:
    async def source(name: str, value: str) -> Object:
        metadata = {"namespace": namespace, "name": name, "labels": {"copy": "wanted"}}
        return await kube.apply(CONFIG_MAPS, {"metadata": metadata, "data": {"is": value}})

    faults = [
        refuse(409, "Conflict"),
        refuse(429, "TooManyRequests", Retry_After="0.01"),
        drop(after_commit=True),
        refuse(500, "InternalError"),
        drop(),
    ]
    proxy.plan("PATCH", "configmaps", *faults)
    first = Program(proxied, namespace, "first")
    await source("a", "1")
    await source("b", "1")
    await settled(kube, namespace, {"a-copy": "1", "b-copy": "1"})
    await source("a", "2")
    await kube.delete(CONFIG_MAPS, Key(namespace, "b"))
    await kube.delete(CONFIG_MAPS, Key(namespace, "a-copy"))  # by somebody's hand
    await settled(kube, namespace, {"a-copy": "2"})

    second = Program(proxied, namespace, "second")
    await first.stop()
    async with asyncio.timeout(20):
        while not second.lease.is_held:
            await asyncio.sleep(0.01)
    written = [seen for seen in proxy.requests if seen.method != "GET" and "leases" not in seen.path]
    await source("c", "1")
    await settled(kube, namespace, {"a-copy": "2", "c-copy": "1"})
    await second.stop()
    later = [seen for seen in proxy.requests if seen.method != "GET" and "leases" not in seen.path]
    assert len(later) == len(written) + 1, "the successor writes nothing that is so already"
    assert {key_of(obj).name for obj in second.sources.list()} == {"a", "c"}


@pytest.mark.looptime
async def test_work_ends_before_another_may_lead() -> None:
    """A reconcile that hangs while the lease is lost is over before the lease can be anybody else's."""
    store = Store()
    client = StoreClient(store)
    lease = LeaderLease(client, config("one"))  # type: ignore[arg-type]
    worked: list[float] = []

    class Stubborn:
        async def reconcile(self, _: Key) -> Result:
            try:
                await asyncio.sleep(1000)
            finally:
                worked.append(now())
            return Result()

    loop = ControlLoop("stubborn", Stubborn(), timeout=1000)

    async def program() -> None:
        async with lease.held(), loop.running():
            loop.queue.add(Key("team", "a"))
            client.before = never
            await asyncio.Event().wait()

    with pytest.raises(LeaderLost):
        await program()
    last_renewal = store.writes[-1][0]
    assert worked == [last_renewal + 14]
