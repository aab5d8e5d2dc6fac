"""The client on a real API server."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from stoker.kube import verbs
from stoker.kube.client import ApiError, Client, ConnectionFailed
from stoker.kube.resource import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, Key, Resource, key_of
from tests.kube.faults import FaultServer, drop, refuse, through

pytestmark = pytest.mark.apiserver


def config_map(namespace: str, name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name}, "data": data}


async def test_an_object_s_life(kube: Client, namespace: str) -> None:
    key = Key(namespace, "one")
    with pytest.raises(ApiError) as missing:
        await kube.get(CONFIG_MAPS, key)
    assert missing.value.is_not_found
    assert (missing.value.reason, missing.value.details["name"]) == ("NotFound", "one")

    created = await kube.create(CONFIG_MAPS, config_map(namespace, "one", a="1"))
    assert created["metadata"]["managedFields"][0]["manager"] == "tests"
    with pytest.raises(ApiError) as exists:
        await kube.create(CONFIG_MAPS, config_map(namespace, "one"))
    assert exists.value.is_already_exists
    assert not exists.value.is_conflict

    patched = await kube.merge_patch(CONFIG_MAPS, key, {"data": {"b": "2"}})
    assert patched["data"] == {"a": "1", "b": "2"}
    with pytest.raises(ApiError) as stale:
        await kube.replace(CONFIG_MAPS, {**created, "data": {}})
    assert stale.value.is_conflict
    replaced = await kube.replace(CONFIG_MAPS, {**patched, "data": {"c": "3"}})
    assert (await kube.get(CONFIG_MAPS, key))["data"] == replaced["data"] == {"c": "3"}

    await kube.delete(CONFIG_MAPS, key)
    await kube.delete(CONFIG_MAPS, key)
    with pytest.raises(ApiError):
        await kube.get(CONFIG_MAPS, key)


async def test_apply_owns_what_it_says_and_gives_up_the_rest(kube: Client, namespace: str) -> None:
    applied = await kube.apply(CONFIG_MAPS, config_map(namespace, "one", a="1", b="2"))
    await kube.merge_patch(CONFIG_MAPS, key_of(applied), {"data": {"foreign": "kept"}})
    again = await kube.apply(CONFIG_MAPS, config_map(namespace, "one", a="1"))
    assert again["data"] == {"a": "1", "foreign": "kept"}
    same = await kube.apply(CONFIG_MAPS, config_map(namespace, "one", a="1"))
    assert same["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]


async def test_apply_without_force_meets_the_other_manager(
    kube: Client, namespace: str, proxy: FaultServer, tmp_path: Path
) -> None:
    await kube.apply(CONFIG_MAPS, config_map(namespace, "one", a="1"))
    async with proxy.client(tmp_path, field_manager="rival") as rival:
        with pytest.raises(ApiError) as conflict:
            await rival.apply(CONFIG_MAPS, config_map(namespace, "one", a="2"), force=False)
        assert conflict.value.is_conflict
        assert (await rival.apply(CONFIG_MAPS, config_map(namespace, "one", a="2")))["data"] == {"a": "2"}


async def test_a_dry_run_stores_nothing(kube: Client, namespace: str) -> None:
    assert (await kube.apply(CONFIG_MAPS, config_map(namespace, "one", a="1"), dry_run=True))["data"] == {
        "a": "1"
    }
    await kube.create(CONFIG_MAPS, config_map(namespace, "two"), dry_run=True)
    assert (await kube.list(CONFIG_MAPS, namespace=namespace)).items == []


async def test_status_is_applied_beside_the_spec(kube: Client, namespace: str) -> None:
    labels = {"app": "web"}
    containers = [{"name": "c", "image": "i"}]
    deployment = {
        "metadata": {"namespace": namespace, "name": "web"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    }
    await kube.apply(DEPLOYMENTS, deployment)
    status = {"metadata": {"namespace": namespace, "name": "web"}, "status": {"replicas": 3}}
    applied = await kube.apply(DEPLOYMENTS, status, subresource="status")
    assert applied["status"]["replicas"] == 3
    assert applied["spec"]["template"]["spec"]["containers"][0]["image"] == "i"


async def test_delete_spares_a_later_object_of_the_same_name(kube: Client, namespace: str) -> None:
    first = await kube.create(CONFIG_MAPS, config_map(namespace, "one"))
    await kube.delete(CONFIG_MAPS, key_of(first), uid=first["metadata"]["uid"])
    second = await kube.create(CONFIG_MAPS, config_map(namespace, "one"))
    await kube.delete(CONFIG_MAPS, key_of(first), uid=first["metadata"]["uid"])
    assert (await kube.get(CONFIG_MAPS, key_of(second)))["metadata"]["uid"] == second["metadata"]["uid"]


async def test_a_list_is_read_in_pages(
    proxied: Client, proxy: FaultServer, kube: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs, "PAGE", 2)
    for number in range(5):
        obj = config_map(namespace, f"cm-{number}")
        obj["metadata"]["labels"] = {"odd": str(number % 2)}
        await kube.create(CONFIG_MAPS, obj)
    found = await proxied.list(CONFIG_MAPS, namespace=namespace)
    assert [obj["metadata"]["name"] for obj in found.items] == [f"cm-{n}" for n in range(5)]
    assert {(obj["apiVersion"], obj["kind"]) for obj in found.items} == {("v1", "ConfigMap")}
    assert len(proxy.requests) == 3
    odd = await proxied.list(CONFIG_MAPS, namespace=namespace, label_selector="odd=1")
    assert len(odd.items) == 2
    one = await proxied.list(CONFIG_MAPS, namespace=namespace, field_selector="metadata.name=cm-3")
    assert len(one.items) == 1


async def test_a_page_token_that_expired_starts_the_list_over(
    proxied: Client, proxy: FaultServer, kube: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs, "PAGE", 1)
    for number in range(2):
        await kube.create(CONFIG_MAPS, config_map(namespace, f"cm-{number}"))
    proxy.plan("GET", "configmaps", through(), refuse(410, "Expired"))
    found = await proxied.list(CONFIG_MAPS, namespace=namespace)
    assert [obj["metadata"]["name"] for obj in found.items] == ["cm-0", "cm-1"]
    assert ["continue" in request.query for request in proxy.requests] == [False, True, False, True]


async def test_a_watch_tells_changes_and_ends_with_a_bookmark(kube: Client, namespace: str) -> None:
    """One from the future says nothing at all, not even that it is one."""
    version = (await kube.list(CONFIG_MAPS, namespace=namespace)).resource_version

    async def follow(version: str) -> list[tuple[str, str | None]]:
        events = kube.watch(CONFIG_MAPS, namespace=namespace, resource_version=version, timeout_seconds=3)
        async with aclosing(events):
            return [(event.type, event.object["metadata"].get("name")) async for event in events]

    watches = asyncio.gather(follow(version), follow(str(int(version) + 10**6)))
    created = await kube.create(CONFIG_MAPS, config_map(namespace, "one"))
    await kube.merge_patch(CONFIG_MAPS, key_of(created), {"data": {"a": "1"}})
    await kube.delete(CONFIG_MAPS, key_of(created))
    sound, from_the_future = await watches
    assert sound[:3] == [("ADDED", "one"), ("MODIFIED", "one"), ("DELETED", "one")]
    assert set(sound[3:]) == {("BOOKMARK", None)}
    assert from_the_future == []


async def test_an_object_of_over_a_mebibyte_comes_through_a_watch(
    proxied: Client, proxy: FaultServer, kube: Client, namespace: str
) -> None:
    version = (await kube.list(CONFIG_MAPS, namespace=namespace)).resource_version
    await kube.create(CONFIG_MAPS, config_map(namespace, "big", data="x" * 1_040_000))
    proxy.plan("GET", "configmaps", through(chunk=997), watch=True)
    events = proxied.watch(CONFIG_MAPS, namespace=namespace, resource_version=version, timeout_seconds=10)
    async with aclosing(events):
        event = await anext(events)
    assert len(event.object["data"]["data"]) == 1_040_000


async def test_an_unknown_kind_is_not_found(kube: Client) -> None:
    with pytest.raises(ApiError) as missing:
        await kube.list(Resource("nowhere.dev", "v1", "things", "Thing"))
    assert missing.value.status == 404


async def test_a_reply_lost_after_the_write_is_a_failed_connection(
    proxied: Client, proxy: FaultServer, kube: Client, namespace: str
) -> None:
    proxy.plan("POST", "configmaps", drop(after_commit=True))
    with pytest.raises(ConnectionFailed):
        await proxied.create(CONFIG_MAPS, config_map(namespace, "one"))
    assert (await kube.get(CONFIG_MAPS, Key(namespace, "one")))["metadata"]["name"] == "one"


async def test_what_the_server_cannot_accept_names_the_field(kube: Client, namespace: str) -> None:
    with pytest.raises(ApiError) as refused:
        await kube.create(CONFIG_MAPS, config_map(namespace, "Not_A_Name"))
    assert (refused.value.status, refused.value.reason) == (422, "Invalid")
    assert "metadata.name" in refused.value.message


async def test_a_fence_stops_writes_and_nothing_else(kube: Client, namespace: str) -> None:
    class TooLateError(Exception):
        pass

    def check() -> None:
        raise TooLateError

    fenced = kube.fenced(check)
    assert (await fenced.get(NAMESPACES, Key("", namespace)))["metadata"]["name"] == namespace
    obj = config_map(namespace, "one")
    for write in (
        fenced.create(CONFIG_MAPS, obj),
        fenced.apply(CONFIG_MAPS, obj),
        fenced.replace(CONFIG_MAPS, obj),
        fenced.merge_patch(CONFIG_MAPS, key_of(obj), {}),
        fenced.delete(CONFIG_MAPS, key_of(obj)),
    ):
        with pytest.raises(TooLateError):
            await write
    assert (await kube.list(CONFIG_MAPS, namespace=namespace)).items == []
