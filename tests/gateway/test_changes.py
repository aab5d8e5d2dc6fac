"""Changes under the real Envoy while it serves: nothing may be lost by any of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import aiohttp
import pytest
from google.protobuf.json_format import ParseError

from gateway import resources
from gateway.drain import DrainTimes, drain
from gateway.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, TYPES
from gateway.snapshot import Snapshot, build
from tests.gateway.bench import LOOPBACK, PATIENCE, Bench, benched, pod_of
from tests.gateway.objects import inference_service

pytestmark = pytest.mark.envoy

HOST = "a.default.example.com"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with benched(tmp_path) as made:
        yield made


def _pushes(bench: Bench) -> dict[str, float]:
    return {kind: bench.sample("stoker_gateway_pushes_total", type=kind.rpartition(".")[2]) for kind in TYPES}


class _Load:
    """What clients got while they asked without a pause, half of them on new connections."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()

    @asynccontextmanager
    async def running(self, bench: Bench, clients: int = 8) -> AsyncIterator[None]:
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self._ask(bench, stop, fresh=n % 2 == 0)) for n in range(clients)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def _ask(self, bench: Bench, stop: asyncio.Event, *, fresh: bool) -> None:
        headers = {"Host": HOST} | ({"Connection": "close"} if fresh else {})
        while not stop.is_set():
            try:
                async with bench.client.post(bench.url, headers=headers, data=b"{}") as response:
                    await response.read()
                    self.outcomes[str(response.status)] += 1
            except aiohttp.ClientError as error:
                self.outcomes[repr(error)] += 1


async def test_pods_and_revisions_come_and_go_under_load_and_nothing_is_dropped(bench: Bench) -> None:
    """Each round replaces the revision and its pod, as a rollout does: Ready, traffic, the old one ends."""
    load = _Load()
    pods = [await bench.upstream(f"pod-{n}") for n in range(2)]
    for each in pods:
        each.seconds = 0.005
    await bench.show([inference_service("a", {"a-0": 100})], [pod_of(pods[0], "a", "a-0")])
    await bench.serving()
    async with load.running(bench):
        for n in range(1, 25):
            old = pod_of(pods[(n - 1) % 2], "a", f"a-{n - 1}", terminating=True)
            new = pod_of(pods[n % 2], "a", f"a-{n}")
            # Everything in one step, which is the hardest case: the last pod of the old revision is gone.
            await bench.show([inference_service("a", {f"a-{n}": 100})], [old, new])
            await bench.show([inference_service("a", {f"a-{n}": 100})], [new])
    assert set(load.outcomes) == {"200"}
    assert load.outcomes["200"] > 100


async def test_a_pod_that_leaves_under_load_gets_no_more_and_loses_none(bench: Bench) -> None:
    load = _Load()
    pods = [await bench.upstream(f"pod-{n}") for n in range(3)]
    for each in pods:
        each.seconds = 0.01
    service = inference_service("a", {"a-1": 100})
    await bench.show([service], [pod_of(each, "a", "a-1") for each in pods])
    await bench.serving()
    async with load.running(bench):
        for leaving in pods:
            staying = [pod_of(each, "a", "a-1") for each in pods if each is not leaving]
            await asyncio.sleep(0.05)
            await bench.show([service], staying)
            await asyncio.sleep(0.05)  # requests that were on their way in Envoy
            before = leaving.requests
            await asyncio.sleep(0.1)
            assert leaving.requests == before
            await bench.show([service], [pod_of(each, "a", "a-1") for each in pods])
    assert set(load.outcomes) == {"200"}


async def test_a_deleted_service_leaves_nothing_behind(bench: Bench) -> None:
    one = await bench.upstream("one")
    await bench.show([inference_service("a", {"a-1": 100})], [pod_of(one, "a", "a-1")])
    await bench.serving()
    await bench.show([], [])
    assert (await bench.get(HOST))[0] == 404
    async with bench.client.get(f"{bench.admin}/clusters") as response:
        assert "default/a/" not in await response.text()


def _broken(snapshot: Snapshot) -> Snapshot:
    """With two virtual hosts for one domain, which Envoy refuses."""
    table = snapshot.by_type[ROUTES]["ingress"]
    hosts = table.body["virtual_hosts"]
    twice = {**table.body, "virtual_hosts": [*hosts, {**hosts[0], "name": "again"}]}
    changed = {ROUTES: {"ingress": resources.resource("ingress", twice)}}
    return replace(snapshot, by_type=MappingProxyType({**snapshot.by_type, **changed}))


async def test_a_table_that_envoy_refuses_leaves_the_last_good_one(bench: Bench) -> None:
    old, new = await bench.upstream("old"), await bench.upstream("new")
    await bench.show([inference_service("a", {"a-1": 100})], [pod_of(old, "a", "a-1")])
    await bench.serving()
    services, pods = [inference_service("a", {"a-2": 100})], [pod_of(new, "a", "a-2")]
    bench.ads.publish(_broken(build(services, pods, bench.options)))
    async with asyncio.timeout(PATIENCE):
        while not bench.sample("stoker_gateway_refused_pushes_total", type="RouteConfiguration"):
            await asyncio.sleep(0.01)
    assert await bench.pod_for(HOST) == "old", "its cluster and endpoints must still be there"
    assert bench.ads.seconds_behind() > 0, "an alert can see it"
    sent = _pushes(bench)
    await asyncio.sleep(0.1)
    assert _pushes(bench) == sent, "what was refused is not offered again and again"
    await bench.show(services, pods)
    assert await bench.pod_for(HOST) == "new"


async def test_what_cannot_be_encoded_changes_nothing(bench: Bench) -> None:
    one = await bench.upstream("one")
    snapshot = await bench.show([inference_service("a", {"a-1": 100})], [pod_of(one, "a", "a-1")])
    await bench.serving()
    bad = {ROUTES: {"ingress": resources.resource("ingress", {"name": "ingress", "no_such_field": 1})}}
    with pytest.raises(ParseError, match="no_such_field"):
        bench.ads.publish(replace(snapshot, by_type={**snapshot.by_type, **bad}))
    assert await bench.pod_for(HOST) == "one"


async def test_envoy_serves_on_without_its_control_plane_and_catches_up(bench: Bench) -> None:
    old, new, more = [await bench.upstream(name) for name in ("old", "new", "more")]
    services = [inference_service("a", {"a-1": 100}), inference_service("b", {"b-1": 100})]
    pods = [pod_of(old, "a", "a-1"), pod_of(more, "b", "b-1")]
    await bench.show(services, pods)
    await bench.serving()
    await bench.restart_control_plane()
    assert await bench.pod_for(HOST) == "old"
    before = _pushes(bench)
    await bench.show(services, pods)
    after = _pushes(bench)
    assert {kind for kind in TYPES if after[kind] > before[kind]} == {ENDPOINTS}, "versions are content"

    await bench.restart_control_plane()
    await bench.show([inference_service("a", {"a-2": 100})], [pod_of(new, "a", "a-2")])
    assert await bench.pod_for(HOST) == "new"
    async with bench.client.get(f"{bench.admin}/clusters") as response:
        clusters = await response.text()
    assert "default/a/a-2" in clusters
    assert "default/a/a-1" not in clusters
    assert "default/b/" not in clusters


async def test_an_envoy_that_is_not_there_or_has_no_snapshot_counts_as_behind(bench: Bench) -> None:
    one = await bench.upstream("one")
    services, pods = [inference_service("a", {"a-1": 100})], [pod_of(one, "a", "a-1")]
    async with asyncio.timeout(PATIENCE):
        while not bench.sample("stoker_gateway_connected_envoys"):
            await asyncio.sleep(0.01)
    assert bench.ads.seconds_behind() > 0, "connected, and there is nothing to send yet"
    await bench.show(services, pods)
    assert bench.ads.seconds_behind() == 0
    assert "envoy_control_plane_connected_state{} 1" in await _stats(bench)
    await bench.stop_control_plane()
    async with asyncio.timeout(PATIENCE):
        while bench.ads.seconds_behind() == 0:  # its Envoy left
            await asyncio.sleep(0.01)
        while "envoy_control_plane_connected_state{} 0" not in await _stats(bench):
            await asyncio.sleep(0.05)


async def _stats(bench: Bench) -> str:
    async with bench.client.get(f"http://{LOOPBACK}:{bench.ports.stats}/stats/prometheus") as response:
        return await response.text()


async def test_listener_and_clusters_stay_as_they_are_while_pods_change(bench: Bench) -> None:
    one, two = await bench.upstream("one"), await bench.upstream("two")
    service = inference_service("a", {"a-1": 100})
    await bench.show([service], [pod_of(one, "a", "a-1")])
    before = _pushes(bench)
    await bench.show([service], [pod_of(one, "a", "a-1"), pod_of(two, "a", "a-1")])
    after = _pushes(bench)
    assert {kind for kind in (CLUSTER, LISTENER, ROUTES, ENDPOINTS) if after[kind] > before[kind]} == {
        ENDPOINTS
    }


class TestDrain:
    async def test_streams_end_by_themselves_and_newcomers_stay_out(self, bench: Bench) -> None:
        one = await bench.upstream("one")
        await bench.show([inference_service("a", {"a-1": 100})], [pod_of(one, "a", "a-1")])
        await bench.serving()
        async with bench.client.get(f"{bench.url}/stream", headers={"Host": HOST}) as response:
            assert await response.content.readany() == b"data: one\n\n"
            draining = asyncio.create_task(drain(bench.admin, DrainTimes(0.3, PATIENCE)))
            async with asyncio.timeout(PATIENCE):
                while await bench.readiness() != 503:
                    await asyncio.sleep(0.02)
            status, headers, _ = await bench.get(HOST)  # the delay: others do not know yet
            assert (status, headers.get("connection")) == (200, "close")
            await asyncio.sleep(0.6)
            async with aiohttp.ClientSession() as newcomer:
                with pytest.raises(aiohttp.ClientConnectorError):
                    await newcomer.get(bench.url, headers={"Host": HOST})
            assert not draining.done()
            one.goes_on.set()
            assert await response.content.read() == b"data: two\n\n"
        assert await asyncio.wait_for(draining, PATIENCE)

    async def test_it_does_not_wait_for_ever(self, bench: Bench) -> None:
        one = await bench.upstream("one")
        await bench.show([inference_service("a", {"a-1": 100})], [pod_of(one, "a", "a-1")])
        await bench.serving()
        async with bench.client.get(f"{bench.url}/stream", headers={"Host": HOST}) as response:
            await response.content.readany()
            assert not await asyncio.wait_for(drain(bench.admin, DrainTimes(0.0, 0.2)), PATIENCE)
            one.goes_on.set()

    async def test_without_an_envoy_there_is_nothing_to_wait_for(self) -> None:
        assert await asyncio.wait_for(drain(f"http://{LOOPBACK}:9", DrainTimes(60.0, 60.0)), PATIENCE)
