"""Events: stored where kubectl finds them, repeats counted, and never in anybody's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog

from stoker.kube.client import ApiError, Client, ConnectionFailed
from stoker.kube.events import EventRecorder
from stoker.kube.resource import EVENTS, NODES, Key, Object
from tests.kube.faults import FaultServer, drop

POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"namespace": "team", "name": "web", "uid": "u1", "resourceVersion": "7"},
}


class Sink:
    """Takes events in, or raises what it is told."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.events: dict[Key, Object] = {}
        self.calls: list[tuple[float, str]] = []

    def _called(self, what: str) -> None:
        self.calls.append((asyncio.get_running_loop().time(), what))
        if self.failures:
            raise self.failures.pop(0)

    async def create(self, resource: object, event: Object) -> Object:
        assert resource is EVENTS
        self._called("create")
        key = Key(event["metadata"]["namespace"], event["metadata"]["name"])
        if key in self.events:
            raise ApiError(409, "AlreadyExists")
        self.events[key] = event
        return event

    async def merge_patch(self, resource: object, key: Key, patch: Object) -> Object:
        assert resource is EVENTS
        self._called("patch")
        if key not in self.events:
            raise ApiError(404, "NotFound")
        self.events[key] |= patch
        return self.events[key]


@asynccontextmanager
async def recording(client: Any) -> AsyncIterator[EventRecorder]:
    recorder = EventRecorder(client, "stoker.dev/controller", "stoker-controller-0")
    async with recorder.running():
        yield recorder


@pytest.mark.apiserver
async def test_a_real_server_takes_them(kube: Client, namespace: str) -> None:
    pod = {**POD, "metadata": {**POD["metadata"], "namespace": namespace, "name": "w" * 253}}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"n-{namespace}", "uid": "u2"}}
    async with recording(kube) as recorder:
        recorder.normal(pod, "RevisionReady", "RollOut", "revision web-00002 serves")
        recorder.warning(pod, "R" * 200, "A" * 200, "漢字" * 400)
        recorder.normal(node, "Seen", "Look", "a cluster-scoped object's event")
    stored = (await kube.list(EVENTS, namespace=namespace)).items
    good, cut = sorted(stored, key=lambda event: str(event["type"]))
    assert (good["reason"], good["action"], good["note"]) == (
        "RevisionReady",
        "RollOut",
        "revision web-00002 serves",
    )
    assert good["regarding"]["uid"] == "u1"
    assert good["reportingController"] == "stoker.dev/controller"
    assert len(cut["note"].encode()) <= 1024
    assert cut["note"].endswith("...")
    in_default = await kube.list(EVENTS, namespace="default", field_selector=f"regarding.name=n-{namespace}")
    assert [event["regarding"]["kind"] for event in in_default.items] == [NODES.kind]


@pytest.mark.apiserver
async def test_a_reply_lost_after_the_write_makes_no_second_event(
    proxied: Client, proxy: FaultServer, kube: Client, namespace: str
) -> None:
    proxy.plan("POST", "events", drop(after_commit=True))
    pod = {**POD, "metadata": {**POD["metadata"], "namespace": namespace}}
    async with recording(proxied) as recorder:
        recorder.normal(pod, "Once", "Do", "it happened once")
    assert len((await kube.list(EVENTS, namespace=namespace)).items) == 1


@pytest.mark.apiserver
async def test_a_series_is_what_the_real_server_accepts(
    kube: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.kube.events._SERIES_WRITE_SECONDS", 0.0)
    pod = {**POD, "metadata": {**POD["metadata"], "namespace": namespace}}
    async with recording(kube) as recorder:
        for _ in range(3):
            recorder.warning(pod, "Again", "Try", "the same story")
    (event,) = (await kube.list(EVENTS, namespace=namespace)).items
    assert event["series"]["count"] == 3


@pytest.mark.looptime
async def test_repeats_are_counted_into_one_event_at_most_once_a_minute() -> None:
    sink = Sink()
    async with recording(sink) as recorder:
        for _ in range(130):
            recorder.warning(POD, "Failed", "Pull", "no such image")
            await asyncio.sleep(1)
    (event,) = sink.events.values()
    assert sink.calls == [(0, "create"), (60, "patch"), (120, "patch")]
    assert event["series"]["count"] == 121
    assert event["note"] == "no such image"


@pytest.mark.looptime
async def test_other_stories_are_other_events() -> None:
    sink = Sink()
    reborn = {**POD, "metadata": {**POD["metadata"], "uid": "u2"}}
    async with recording(sink) as recorder:
        recorder.warning(POD, "Failed", "Pull", "no such image: a")
        recorder.warning(POD, "Failed", "Pull", "no such image: b")
        recorder.normal(POD, "Failed", "Pull", "no such image: a")
        recorder.warning(reborn, "Failed", "Pull", "no such image: a")
    assert len(sink.events) == 4


@pytest.mark.looptime
async def test_after_ten_quiet_minutes_it_is_a_new_story() -> None:
    sink = Sink()
    async with recording(sink) as recorder:
        recorder.normal(POD, "Scaled", "Scale", "to 2")
        await asyncio.sleep(601)
        recorder.normal(POD, "Scaled", "Scale", "to 2")
    assert [what for _, what in sink.calls] == ["create", "create"]


@pytest.mark.looptime
async def test_an_event_that_expired_on_the_server_is_made_anew() -> None:
    sink = Sink()
    async with recording(sink) as recorder:
        recorder.normal(POD, "Scaled", "Scale", "to 2")
        await asyncio.sleep(61)
        sink.events.clear()
        recorder.normal(POD, "Scaled", "Scale", "to 2")
    assert [what for _, what in sink.calls] == ["create", "patch", "create"]
    assert len(sink.events) == 1


@pytest.mark.looptime
async def test_a_try_whose_reply_was_lost_is_the_event_that_repeats_are_counted_into() -> None:
    class Lossy(Sink):
        async def create(self, resource: object, event: Object) -> Object:
            stored = await super().create(resource, event)
            if len(self.calls) == 1:
                raise ConnectionFailed("reset")
            return stored

    sink = Lossy()
    async with recording(sink) as recorder:
        recorder.normal(POD, "Scaled", "Scale", "to 2")
        await asyncio.sleep(61)
        recorder.normal(POD, "Scaled", "Scale", "to 2")
    assert [what for _, what in sink.calls] == ["create", "create", "patch"]
    assert [event["series"]["count"] for event in sink.events.values()] == [2]


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("failure", "tries"),
    [
        (ConnectionFailed("refused"), 3),
        (ApiError(500), 3),
        (ApiError(429), 3),
        (ApiError(403, "Forbidden"), 1),
        (KeyError("a bug"), 1),
    ],
)
async def test_what_fails_is_dropped_after_a_few_tries(failure: Exception, tries: int) -> None:
    sink = Sink(*[failure] * tries)
    with structlog.testing.capture_logs() as logs:
        async with recording(sink) as recorder:
            recorder.normal(POD, "One", "Do", "dropped")
            await asyncio.sleep(10)
            recorder.normal(POD, "Two", "Do", "sent")
    assert len(sink.calls) == tries + 1
    assert [event["reason"] for event in sink.events.values()] == ["Two"]
    assert len(logs) == 1


@pytest.mark.looptime
async def test_a_server_that_is_away_neither_blocks_nor_fills_the_memory() -> None:
    class Away(Sink):
        async def create(self, resource: object, event: Object) -> Object:
            await asyncio.Event().wait()
            raise AssertionError

    recorder = EventRecorder(Away(), "c", "i")  # type: ignore[arg-type]
    with structlog.testing.capture_logs() as logs:
        async with recorder.running():
            for number in range(1500):
                recorder.normal(POD, "Many", "Do", f"number {number}")
        assert asyncio.get_running_loop().time() <= 2
    assert sum(entry["event"] == "too many events wait, one is dropped" for entry in logs) == 500


@pytest.mark.parametrize("obj", [{}, {"metadata": {}}, {"kind": "Pod", "metadata": {"name": "x"}}], ids=str)
async def test_an_object_without_a_name_raises_nothing(obj: Object) -> None:
    recorder = EventRecorder(Sink(), "c", "i")  # type: ignore[arg-type]
    with structlog.testing.capture_logs() as logs:
        recorder.normal(obj, "Odd", "Do", "nothing")
    assert [entry["event"] for entry in logs] == ["an event could not be made"]
