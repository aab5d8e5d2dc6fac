"""The informer: what it knows is what the server has, whatever happens on the way."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.kube.backoff import Backoff
from stoker.kube.client import ApiError, Client, ConnectionFailed, ObjectList, WatchEvent
from stoker.kube.informer import Informer
from stoker.kube.object_cache import ObjectCache
from stoker.kube.resource import CONFIG_MAPS, Key, Object, key_of
from tests.kube.faults import (
    GONE,
    FaultServer,
    answer,
    bookmark,
    drop,
    event,
    listed,
    refuse,
    stream,
    thing,
    through,
)

ONE, TWO = thing("one", 1), thing("two", 2)


class Quick(Backoff):
    """Hardly waits, and counts how often it was asked to."""

    def __init__(self) -> None:
        super().__init__(first=0.001, cap=0.002)
        self.waits = 0

    def next(self) -> float:
        self.waits += 1
        return super().next()


class Heard:
    """Changes as a handler gets them, in short."""

    def __init__(self) -> None:
        self.changes: list[str] = []
        self._changed = asyncio.Event()

    def __call__(self, old: Object | None, new: Object | None) -> None:
        obj = new or old or {}
        sign = "+" if old is None else "-" if new is None else "~"
        self.changes.append(f"{sign}{key_of(obj).name} {obj['metadata']['uid']}")
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def informing(client: Client, **options: Any) -> AsyncIterator[tuple[Informer, Heard]]:
    informer = Informer(client, CONFIG_MAPS, backoff=options.pop("backoff", Quick()), **options)
    heard = Heard()
    informer.on_change(heard)
    async with informer.running():
        yield informer, heard


def plan_watches(scripted: FaultServer, *replies: Any) -> None:
    """These watches, and then one that stays open in silence."""
    scripted.plan("GET", "", *replies, stream([], end="hang"), watch=True)


async def test_list_then_watch(client: Client, scripted: FaultServer) -> None:
    scripted.plan("GET", "", listed(ONE, TWO, version="5"), watch=False)
    changed = thing("one", 6, data={"a": "1"})
    plan_watches(scripted, stream([event("MODIFIED", changed), event("DELETED", TWO)], end="hang"))
    async with informing(client) as (informer, heard):
        await heard.until(lambda: "-two uid-two" in heard.changes)
        assert informer.synced.is_set()
        assert informer.get(Key("team", "one")) == changed
        assert informer.list() == [changed]
    assert heard.changes == ["+one uid-one", "+two uid-two", "~one uid-one", "-two uid-two"]
    assert scripted.seen("GET", watch=True)[0].query["resourceVersion"] == "5"


async def test_the_next_watch_begins_where_the_last_ended(client: Client, scripted: FaultServer) -> None:
    scripted.plan("GET", "", listed(ONE, version="5"), watch=False)
    plan_watches(
        scripted,
        stream([event("ADDED", thing("two", 7))]),  # closed by the server
        stream([bookmark(20)], end="abort"),  # broken
        stream([b'{"type":"ADD'], end="close"),  # half a line
        answer(502, "<html>"),
        drop(),
        drop(),
        stream([b"<html>\n"]),
        refuse(403, "Forbidden"),
    )
    async with informing(client) as (_, heard):
        await heard.until(lambda: "+two uid-two" in heard.changes)
        async with asyncio.timeout(10):
            while len(scripted.seen("GET", watch=True)) < 9:
                await asyncio.sleep(0.001)
    versions = [seen.query["resourceVersion"] for seen in scripted.seen("GET", watch=True)]
    assert versions[:2] == ["5", "7"]
    assert set(versions[2:]) == {"20"}
    assert len(scripted.seen("GET")) == 1, "listed once"
    lasting = {seen.query["timeoutSeconds"] for seen in scripted.seen("GET", watch=True)}
    assert len(lasting) > 1, "watches do not all end at once"


@pytest.mark.parametrize("gone", [refuse(410, "Expired"), stream([GONE])], ids=["HTTP", "in the stream"])
async def test_a_version_that_is_gone_lists_anew_and_tells_the_difference(
    client: Client, scripted: FaultServer, gone: Any
) -> None:
    kept, changed = thing("kept", 1), thing("changed", 2)
    vanished, replaced = thing("vanished", 3), thing("replaced", 4, uid="old")
    after = [kept, thing("changed", 8), thing("replaced", 9, uid="new"), thing("added", 10)]
    scripted.plan(
        "GET",
        "",
        listed(kept, changed, vanished, replaced, version="5"),
        listed(*after, version="11"),
        watch=False,
    )
    plan_watches(scripted, gone)
    async with informing(client) as (informer, heard):
        await heard.until(lambda: "+added uid-added" in heard.changes)
        assert sorted(informer.list(), key=str) == sorted(after, key=str)
    assert heard.changes[4:] == [
        "-vanished uid-vanished",
        "~changed uid-changed",
        "-replaced old",
        "+replaced new",
        "+added uid-added",
    ]
    assert len(scripted.seen("GET")) == 2


async def test_told_twice_is_told_once(client: Client, scripted: FaultServer) -> None:
    scripted.plan("GET", "", listed(ONE, version="5"), watch=False)
    changed = event("MODIFIED", thing("one", 6))
    plan_watches(scripted, stream([event("ADDED", ONE), changed, changed, event("ADDED", TWO)], end="hang"))
    async with informing(client) as (_, heard):
        await heard.until(lambda: "+two uid-two" in heard.changes)
    assert heard.changes == ["+one uid-one", "~one uid-one", "+two uid-two"]


async def test_deleted_and_made_anew_in_one_watch(client: Client, scripted: FaultServer) -> None:
    """A watch that compacts may show only the last state."""
    scripted.plan("GET", "", listed(ONE, version="5"), watch=False)
    plan_watches(scripted, stream([event("MODIFIED", thing("one", 9, uid="new"))], end="hang"))
    async with informing(client) as (_, heard):
        await heard.until(lambda: len(heard.changes) == 3)
    assert heard.changes == ["+one uid-one", "-one uid-one", "+one new"]


async def test_lists_that_fail_are_tried_again(client: Client, scripted: FaultServer) -> None:
    replies = [answer(500, "<html>"), refuse(403, "Forbidden"), drop(), drop(), answer(200, "<html>")]
    scripted.plan("GET", "", *replies, listed(ONE, version="5"), watch=False)
    plan_watches(scripted)
    async with informing(client) as (informer, heard):
        await heard.until(informer.synced.is_set)


async def test_one_bad_handler_or_indexer_stops_nobody(client: Client, scripted: FaultServer) -> None:
    scripted.plan("GET", "", listed(ONE, TWO, version="5"), watch=False)
    plan_watches(scripted)

    def bad(_: object, __: object = None) -> Any:
        raise RuntimeError("a bug")

    informer = Informer(client, CONFIG_MAPS, indexers={"bad": bad})
    heard = Heard()
    informer.on_change(bad)
    informer.on_change(heard)
    async with informer.running():
        await heard.until(lambda: len(heard.changes) == 2)
    assert informer.by_index("bad", "x") == []


async def test_managed_fields_and_whatever_else_is_not_kept(client: Client, scripted: FaultServer) -> None:
    full = thing("one", 1, data={"a": "1"})
    full["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    scripted.plan("GET", "", listed(full, version="5"), watch=False)
    plan_watches(scripted)

    def without_data(obj: Object) -> Object:
        return {name: value for name, value in obj.items() if name != "data"}

    async with informing(client, transform=without_data) as (informer, heard):
        await heard.until(lambda: len(heard.changes) == 1)
        obj = informer.get(Key("team", "one"))
    assert obj == thing("one", 1)


async def test_a_late_handler_hears_what_is_there(client: Client, scripted: FaultServer) -> None:
    scripted.plan("GET", "", listed(ONE, TWO, version="5"), watch=False)
    plan_watches(scripted)
    async with informing(client) as (informer, first):
        await first.until(lambda: len(first.changes) == 2)
        late = Heard()
        informer.on_change(late)
        assert late.changes == first.changes


@pytest.mark.apiserver
async def test_through_a_bad_connection_to_a_real_server(
    proxied: Client, proxy: FaultServer, kube: Client, namespace: str
) -> None:
    """Watches cut after each line or two, in pieces of one byte, and versions gone in between."""
    proxy.plan("GET", "configmaps", through(cut_after=1), through(cut_after=2), watch=True)
    proxy.plan("GET", "configmaps", refuse(410, "Expired"), through(cut_after=1, chunk=1), watch=True)
    proxy.plan("GET", "configmaps", drop(), drop(), stream([GONE]), through(chunk=1), watch=True)
    chance = random.Random(7)
    async with informing(proxied, namespace=namespace, label_selector="app=x") as (informer, heard):
        for round_ in range(12):
            name = f"cm-{chance.randrange(4)}"
            metadata = {"namespace": namespace, "name": name, "labels": {"app": "x"}}
            if chance.random() < 0.3:
                await kube.delete(CONFIG_MAPS, Key(namespace, name))
            else:
                await kube.apply(CONFIG_MAPS, {"metadata": metadata, "data": {"round": str(round_)}})
        last = {"namespace": namespace, "name": "last", "labels": {"app": "x"}}
        await kube.apply(CONFIG_MAPS, {"metadata": last})
        await heard.until(lambda: informer.get(Key(namespace, "last")) is not None)
        real = {
            key_of(obj): obj["metadata"] for obj in (await kube.list(CONFIG_MAPS, namespace=namespace)).items
        }
        await heard.until(lambda: {key_of(obj) for obj in informer.list()} == real.keys())
        for obj in informer.list(namespace):
            assert obj["metadata"]["resourceVersion"] == real[key_of(obj)]["resourceVersion"]


class ScriptedClient:
    """Lists and watches in virtual time: what real sockets cannot do."""

    def __init__(self, watch: Callable[[], AsyncIterator[WatchEvent]], fail: Exception | None = None) -> None:
        self.fail = fail
        self._watch = watch
        self.lists: list[float] = []
        self.watches: list[float] = []

    async def list(self, *_: Any, **__: Any) -> ObjectList:
        self.lists.append(asyncio.get_running_loop().time())
        if self.fail:
            raise self.fail
        return ObjectList([copy.deepcopy(ONE)], "5")

    def watch(self, *_: Any, **__: Any) -> AsyncIterator[WatchEvent]:
        self.watches.append(asyncio.get_running_loop().time())
        return self._watch()


async def run_for(client: Any, seconds: float) -> Informer:
    informer = Informer(client, CONFIG_MAPS, backoff=Backoff(chance=random.Random(1)))
    async with informer.running():
        await asyncio.sleep(seconds)
    return informer


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


async def closed_at_once() -> AsyncIterator[WatchEvent]:
    return
    yield


async def gone_at_once() -> AsyncIterator[WatchEvent]:
    raise ApiError(410, "Expired")
    yield


async def sound() -> AsyncIterator[WatchEvent]:
    await asyncio.sleep(45)
    yield WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "6"}})
    await asyncio.sleep(2)


async def silent() -> AsyncIterator[WatchEvent]:
    await asyncio.sleep(45)
    return
    yield


@pytest.mark.looptime
@pytest.mark.parametrize("watch", [closed_at_once, gone_at_once])
async def test_it_never_spins(watch: Any) -> None:
    client = ScriptedClient(watch)
    await run_for(client, 300)
    pauses = gaps(client.watches)
    assert 0.8 <= pauses[0] <= 1.6
    assert max(pauses) <= 30
    assert min(pauses[6:]) >= 15, "the longest pauses are spread as well, but they are long"
    assert len(client.watches) < 25
    assert len(client.lists) == (1 if watch is closed_at_once else len(client.watches))


@pytest.mark.looptime
@pytest.mark.parametrize(
    "error", [ConnectionFailed("refused"), ApiError(500), ApiError(403), KeyError("bug")]
)
async def test_a_server_that_is_away_is_asked_ever_less_often(error: Exception) -> None:
    client = ScriptedClient(sound, fail=error)
    informer = await run_for(client, 300)
    pauses = gaps(client.lists)
    assert pauses[0] >= 0.8
    assert min(pauses[6:]) >= 15
    assert max(pauses) <= 30
    assert not informer.synced.is_set()
    client.fail = None
    informer = await run_for(client, 40)
    assert informer.synced.is_set()


@pytest.mark.looptime
async def test_the_server_s_own_wish_is_honoured() -> None:
    client = ScriptedClient(sound, fail=ApiError(429, retry_after=50))
    await run_for(client, 300)
    assert min(gaps(client.lists)) >= 50


@pytest.mark.looptime
async def test_sound_watches_follow_each_other_without_pause_or_list() -> None:
    client = ScriptedClient(sound)
    informer = await run_for(client, 470)
    assert gaps(client.watches) == [47.0] * 9
    assert len(client.lists) == 1
    assert informer.seconds_since_heard() <= 47


@pytest.mark.looptime
async def test_watches_that_are_silent_for_long_are_not_trusted() -> None:
    """Without even bookmarks: as when etcd was restored and the version lies in the future."""
    client = ScriptedClient(silent)
    await run_for(client, 1300)
    assert client.lists == [0.0, 630.0, 1260.0], "seldom: a kind that does not change is as silent"
    assert gaps(client.watches) == [45.0] * 28


keys = st.builds(Key, st.sampled_from(["n1", "n2", ""]), st.sampled_from(["a", "b", "c"]))
values = st.lists(st.sampled_from(["x", "y"]), max_size=3)


@settings(max_examples=200)
@given(st.lists(st.tuples(keys, st.none() | values), max_size=30))
def test_indexes_agree_with_the_objects(steps: list[tuple[Key, list[str] | None]]) -> None:
    cache = ObjectCache({"by": lambda obj: obj["values"]})
    model: dict[Key, Object] = {}
    for key, found in steps:
        if found is None:
            assert cache.pop(key) == model.pop(key, None)
        else:
            obj = {"metadata": {"namespace": key.namespace, "name": key.name}, "values": found}
            cache.put(key, obj)
            model[key] = obj
        for value in ("x", "y", "z"):
            wanted = [obj for obj in model.values() if value in obj["values"]]
            assert sorted(map(str, cache.by_index("by", value))) == sorted(map(str, wanted))
        for namespace in ("n1", "n2", "n3", ""):
            wanted = [obj for key, obj in model.items() if key.namespace == namespace]
            assert sorted(map(str, cache.list(namespace))) == sorted(map(str, wanted))
        assert sorted(cache.keys()) == sorted(model)
    with pytest.raises(KeyError, match="no indexer"):
        cache.by_index("unknown", "x")


@given(st.integers(0, 2**32))
def test_back_off_grows_is_spread_and_starts_anew(seed: int) -> None:
    backoff = Backoff(chance=random.Random(seed))
    waits = [backoff.next() for _ in range(10)]
    assert all(0.8 * 2**n <= wait <= 1.6 * 2**n for n, wait in enumerate(waits[:5]))
    assert all(15 <= wait <= 30 for wait in waits[5:])
    assert len(set(waits[5:])) == 5
    backoff.reset()
    assert backoff.next() <= 1.6
