"""Never two leaders: candidates in virtual time on a store that fails as it is told, and on a real server."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import looptime
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.kube.client import ApiError, Client, ConnectionFailed
from stoker.kube.control_loop import GRACE_SECONDS
from stoker.kube.lease import LeaderLease, LeaderLost, LeaseConfig
from stoker.kube.resource import LEASES, Key, Object
from tests.kube.faults import FaultServer, drop, hang, refuse

KEY = Key("stoker-system", "leader")


def now() -> float:
    return asyncio.get_running_loop().time()


def config(identity: str, **seconds: float) -> LeaseConfig:
    return LeaseConfig(KEY.namespace, KEY.name, identity, **seconds)


class Store:
    """One Lease with the server's rules for versions; all clients share it."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.version = 0
        self.writes: list[tuple[float, str]] = []

    def read(self) -> Object:
        if self.lease is None:
            raise ApiError(404, "NotFound")
        return copy.deepcopy(self.lease)

    def write(self, lease: Object, *, new: bool) -> Object:
        if new and self.lease is not None:
            raise ApiError(409, "AlreadyExists")
        if not new and self.lease is None:
            raise ApiError(404, "NotFound")
        if self.lease and lease["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict")
        self.version += 1
        self.lease = copy.deepcopy(lease)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        self.writes.append((now(), lease["spec"]["holderIdentity"]))
        return self.read()


Fault = Callable[[], Awaitable[None]]


class StoreClient:
    """One candidate's way to the store. `before` and `after` may wait or raise around each call."""

    def __init__(self, store: Store, before: Fault | None = None, after: Fault | None = None) -> None:
        self.store = store
        self.before = before
        self.after = after

    async def _call(self, action: Callable[[], Object]) -> Object:
        if self.before:
            await self.before()
        result = action()
        if self.after:
            await self.after()
        return result

    async def get(self, resource: object, key: Key) -> Object:
        assert (resource, key) == (LEASES, KEY)
        return await self._call(self.store.read)

    async def create(self, _: object, lease: Object) -> Object:
        return await self._call(lambda: self.store.write(lease, new=True))

    async def replace(self, _: object, lease: Object) -> Object:
        return await self._call(lambda: self.store.write(lease, new=False))


async def fail() -> None:
    raise ConnectionFailed("refused")


async def never() -> None:
    await asyncio.Event().wait()


class Candidate:
    """Leads when it can, and remembers when it did."""

    def __init__(self, client: Any, name: str, **seconds: float) -> None:
        self.client = client
        self.lease = LeaderLease(client, config(name, **seconds))
        self.led: list[list[float]] = []
        self.lost = 0
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                async with self.lease.held():
                    self.led.append([now(), float("inf")])
                    try:
                        await asyncio.Event().wait()
                    finally:
                        self.led[-1][1] = now()
            except LeaderLost:
                self.lost += 1

    @property
    def leads(self) -> bool:
        return bool(self.led) and self.led[-1][1] == float("inf")

    async def stop(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


@pytest.mark.looptime
async def test_the_first_candidate_leads_and_renews() -> None:
    store = Store()
    one = Candidate(StoreClient(store), "one")
    await asyncio.sleep(60)
    assert one.led == [[0, float("inf")]]
    assert [time for time, _ in store.writes] == [2.0 * n for n in range(31)][: len(store.writes)]
    assert len(store.writes) >= 30
    spec = store.read()["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("one", 15, 0)
    await one.stop()


@pytest.mark.looptime
async def test_a_clean_exit_hands_over_at_once() -> None:
    store = Store()
    one = Candidate(StoreClient(store), "one")
    await asyncio.sleep(1)
    two = Candidate(StoreClient(store), "two")
    await asyncio.sleep(20)
    assert not two.leads
    await one.stop()
    released = store.read()["spec"]
    assert (released["holderIdentity"], released["leaseDurationSeconds"]) == ("", 1)
    stopped = now()
    await asyncio.sleep(3)
    assert two.led[0][0] - stopped <= 2.4
    assert store.read()["spec"]["leaseTransitions"] == 1
    await two.stop()


@pytest.mark.looptime
async def test_a_body_that_fails_gives_the_lease_back() -> None:
    store = Store()
    lease = LeaderLease(StoreClient(store), config("one"))  # type: ignore[arg-type]

    async def program() -> None:
        async with lease.held():
            raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        await program()
    assert store.read()["spec"]["holderIdentity"] == ""
    assert not lease.is_held


@pytest.mark.looptime
@pytest.mark.parametrize("fault", [fail, never], ids=["refused", "hanging"])
async def test_a_leader_cut_off_stops_before_another_may_start(fault: Fault) -> None:
    store = Store()
    client = StoreClient(store)
    one = Candidate(client, "one")
    await asyncio.sleep(1)
    two = Candidate(StoreClient(store), "two")
    await asyncio.sleep(20.5)
    last_renewal = store.writes[-1][0]
    client.before = fault
    await asyncio.sleep(40)
    assert one.led == [[0, last_renewal + 10]], "to the moment, whatever hangs"
    started = two.led[0][0]
    assert started >= last_renewal + 15
    assert started - one.led[0][1] > GRACE_SECONDS
    assert started <= last_renewal + 20
    assert one.lost == 1
    await asyncio.gather(one.stop(), two.stop())


@pytest.mark.looptime
async def test_a_reply_lost_after_the_write_is_no_loss() -> None:
    store = Store()
    client = StoreClient(store)
    one = Candidate(client, "one")
    await asyncio.sleep(5)
    failures = 3

    async def lose_the_reply() -> None:
        nonlocal failures
        if failures:
            failures -= 1
            await fail()

    client.after = lose_the_reply
    await asyncio.sleep(60)
    assert one.led == [[0, float("inf")]]
    await one.stop()


@pytest.mark.looptime
async def test_time_counts_from_before_the_request_not_from_the_reply() -> None:
    """The others' clocks start when the server stores a renewal, whenever its reply arrives."""
    store = Store()

    async def slow_reply() -> None:
        await asyncio.sleep(4)

    client = StoreClient(store)
    one = Candidate(client, "one")
    await asyncio.sleep(5)
    client.after = slow_reply
    await asyncio.sleep(6)
    assert len(store.writes) == 4, "the renewal whose reply came late, and no other"
    client.before = fail
    await asyncio.sleep(20)
    assert one.led == [[0, store.writes[-1][0] + 10]]
    await one.stop()


@pytest.mark.looptime
async def test_a_lease_taken_by_another_is_lost_at_once() -> None:
    store = Store()
    one = Candidate(StoreClient(store), "one")
    await asyncio.sleep(5)
    stolen = store.read()
    stolen["spec"]["holderIdentity"] = "thief"
    store.write(stolen, new=False)
    await asyncio.sleep(2.1)
    assert not one.leads
    assert store.read()["spec"]["holderIdentity"] == "thief", "and not given back: it is not ours"
    await one.stop()


@pytest.mark.looptime
async def test_a_lease_removed_is_lost_at_once() -> None:
    """Whoever asks next may take it, so leading on would make two."""
    store = Store()
    one = Candidate(StoreClient(store), "one")
    await asyncio.sleep(5)
    store.lease = None
    await asyncio.sleep(1.1)
    assert one.lost == 1
    await one.stop()


@pytest.mark.looptime
async def test_the_time_written_by_another_s_clock_means_nothing() -> None:
    store = Store()
    dead = {"holderIdentity": "dead", "leaseDurationSeconds": 15, "renewTime": "2999-01-01T00:00:00.000000Z"}
    store.write({"metadata": {}, "spec": dead}, new=True)
    one = Candidate(StoreClient(store), "one")
    await asyncio.sleep(14.9)
    assert not one.leads
    await asyncio.sleep(3)
    assert one.leads
    await one.stop()


@pytest.mark.looptime
async def test_a_longer_promise_of_the_holder_is_respected() -> None:
    store = Store()
    spec = {"holderIdentity": "old version", "leaseDurationSeconds": 60, "leaseTransitions": 4}
    store.write({"metadata": {}, "spec": spec}, new=True)
    one = Candidate(StoreClient(store), "one")
    await asyncio.sleep(59)
    assert not one.leads
    await asyncio.sleep(4)
    assert one.leads
    assert store.read()["spec"]["leaseTransitions"] == 5
    await one.stop()


@pytest.mark.looptime
async def test_a_release_that_hangs_does_not_hold_the_exit() -> None:
    store = Store()
    client = StoreClient(store)
    one = Candidate(client, "one")
    await asyncio.sleep(1)
    client.before = never
    await one.stop()
    assert now() <= 3


@pytest.mark.looptime
async def test_the_fence_falls_with_the_deadline_even_if_nothing_else_ran() -> None:
    """As after SIGSTOP: the first thing to run may be a worker about to write."""
    store = Store()
    lease = LeaderLease(StoreClient(store), config("one"))  # type: ignore[arg-type]
    with pytest.raises(LeaderLost):
        lease.check()
    async with lease.held():
        lease.check()
        loop: Any = asyncio.get_running_loop()
        real = loop.time
        loop.time = lambda: real() + 10.0
        try:
            with pytest.raises(LeaderLost, match="not held by one"):
                lease.check()
        finally:
            loop.time = real


@pytest.mark.parametrize(
    "seconds",
    [
        {"renew_deadline": 15.0},
        {"renew_deadline": 20.0},
        {"retry_period": 10.0},
        {"retry_period": 0.0},
    ],
)
def test_times_that_would_allow_two_leaders_are_refused(seconds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="two from leading"):
        config("one", **seconds)
    with pytest.raises(ValueError, match="identity"):
        config("")


async def _chaos(seed: int) -> None:
    """Three candidates; each call may be slow, fail before or after the store did it, or hang."""
    chance = random.Random(seed)
    store = Store()

    async def before() -> None:
        await asyncio.sleep(chance.choice([0, 0.01, 0.5, 3]))
        if chance.random() < chance_of_fault:
            await chance.choice([fail, never, fail])()

    async def after() -> None:
        await asyncio.sleep(chance.choice([0, 0.01, 0.5]))
        if chance.random() < chance_of_fault / 2:
            await chance.choice([fail, never])()

    chance_of_fault = 0.0
    candidates = [Candidate(StoreClient(store, before, after), name) for name in ("one", "two", "three")]
    for _ in range(6):
        chance_of_fault = chance.choice([0, 0.2, 0.6, 1.0])
        await asyncio.sleep(chance.uniform(5, 60))
        if chance.random() < 0.3 and store.lease is not None:
            number = chance.randrange(3)
            await candidates[number].stop()
            candidates.append(Candidate(candidates[number].client, f"again-{len(candidates)}"))
    chance_of_fault = 0.0
    await asyncio.sleep(120)
    assert sum(candidate.leads for candidate in candidates) == 1, "and in the end somebody leads"
    await asyncio.gather(*(candidate.stop() for candidate in candidates))
    terms = sorted(term for candidate in candidates for term in candidate.led)
    for (_, ended), (started, _) in pairwise(terms):
        assert ended <= started, "two led at once"


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32))
def test_never_two_leaders(seed: int) -> None:
    loop = looptime.new_event_loop(start=0, end=10**6, noop_cycles=0)
    try:
        with structlog.testing.capture_logs():  # printing them would take most of the time
            loop.run_until_complete(_chaos(seed))
    finally:
        loop.close()


QUICK = {"duration": 8.0, "renew_deadline": 6.0, "retry_period": 0.1}


@pytest.mark.apiserver
async def test_on_a_real_server(kube: Client, namespace: str, proxied: Client, proxy: FaultServer) -> None:
    """The leader's renewals hang, fail, and are stored without a reply."""

    def lease(client: Client, identity: str) -> LeaderLease:
        return LeaderLease(client, LeaseConfig(namespace, "leader", identity, **QUICK))

    first, second = lease(proxied, "first"), lease(kube, "second")
    async with first.held():
        waiting = asyncio.create_task(second.held().__aenter__())
        trouble = [refuse(500, "InternalError"), drop(after_commit=True), refuse(409, "Conflict"), hang()]
        proxy.plan("PUT", "leases", *trouble)
        async with asyncio.timeout(10):
            while len(proxy.seen("PUT")) < 6:
                first.check()
                await asyncio.sleep(0.02)
        assert not waiting.done()
        stored = await kube.get(LEASES, Key(namespace, "leader"))
        assert stored["spec"]["holderIdentity"] == "first"
    async with asyncio.timeout(2):
        await waiting
    stored = await kube.get(LEASES, Key(namespace, "leader"))
    assert (stored["spec"]["holderIdentity"], stored["spec"]["leaseTransitions"]) == ("second", 1)
