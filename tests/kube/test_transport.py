"""The client and a server that does everything wrong."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import structlog

from stoker.kube import calls, verbs
from stoker.kube import client as client_module
from stoker.kube.client import ApiError, Client, ConfigInvalid, ConnectionConfig, ConnectionFailed, connect
from stoker.kube.informer import WATCH_SECONDS
from stoker.kube.resource import CONFIG_MAPS, Key
from tests.kube.faults import (
    GONE,
    FaultServer,
    Reply,
    answer,
    bookmark,
    drop,
    event,
    hang,
    kubeconfig,
    listed,
    refuse,
    stream,
    thing,
)

KEY = Key("team", "one")
ONE = thing("one", 1)
BUSY = refuse(429, "TooManyRequests", Retry_After="0.01")
UNWELL = answer(503, "<html>", Retry_After="0.01")


async def call(client: Client, verb: str) -> Any:
    ways: dict[str, Callable[[], Awaitable[Any]]] = {
        "get": lambda: client.get(CONFIG_MAPS, KEY),
        "list": lambda: client.list(CONFIG_MAPS),
        "create": lambda: client.create(CONFIG_MAPS, ONE),
        "apply": lambda: client.apply(CONFIG_MAPS, ONE),
        "merge_patch": lambda: client.merge_patch(CONFIG_MAPS, KEY, {"data": {}}),
        "replace": lambda: client.replace(CONFIG_MAPS, ONE),
        "delete": lambda: client.delete(CONFIG_MAPS, KEY),
    }
    return await ways[verb]()


METHODS = {
    "get": "GET",
    "list": "GET",
    "create": "POST",
    "apply": "PATCH",
    "merge_patch": "PATCH",
    "replace": "PUT",
    "delete": "DELETE",
}
VERBS = pytest.mark.parametrize("verb", METHODS)


def success(verb: str) -> Reply:
    return listed(version="1") if verb == "list" else answer(200, ONE)


async def follow(client: Client, version: str = "1", timeout_seconds: int = 30) -> list[str]:
    events = client.watch(CONFIG_MAPS, resource_version=version, timeout_seconds=timeout_seconds)
    async with aclosing(events):
        return [f"{item.type} {item.object['metadata'].get('name', '')}".strip() async for item in events]


@VERBS
async def test_too_many_requests_is_waited_out(client: Client, scripted: FaultServer, verb: str) -> None:
    scripted.plan(METHODS[verb], "", BUSY, BUSY, success(verb))
    await call(client, verb)
    assert len(scripted.requests) == 3


@VERBS
async def test_patience_has_an_end(client: Client, scripted: FaultServer, verb: str) -> None:
    scripted.plan(METHODS[verb], "", BUSY, forever=True)
    with pytest.raises(ApiError) as busy:
        await call(client, verb)
    assert (busy.value.status, busy.value.retry_after) == (429, 0.01)
    assert len(scripted.requests) == 4


@VERBS
async def test_only_what_may_be_done_twice_is_sent_again_after_a_503(
    client: Client, scripted: FaultServer, verb: str
) -> None:
    scripted.plan(METHODS[verb], "", UNWELL, success(verb))
    if verb == "create":
        with pytest.raises(ApiError) as unwell:
            await call(client, verb)
        assert unwell.value.message == "<html>"
    else:
        await call(client, verb)
    assert len(scripted.requests) == (1 if verb == "create" else 2)


async def test_a_long_wait_is_left_to_the_caller(client: Client, scripted: FaultServer) -> None:
    scripted.plan("GET", "", refuse(429, "TooManyRequests", Retry_After="60"))
    with pytest.raises(ApiError) as busy:
        await client.get(CONFIG_MAPS, KEY)
    assert busy.value.retry_after == 60


@pytest.mark.parametrize("header", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "nan", "inf", ""])
async def test_an_odd_retry_after_is_none(client: Client, scripted: FaultServer, header: str) -> None:
    scripted.plan("GET", "", refuse(429, "TooManyRequests", Retry_After=header))
    with pytest.raises(ApiError) as busy:
        await client.get(CONFIG_MAPS, KEY)
    assert busy.value.retry_after is None


@pytest.mark.parametrize("status", [302, 400, 404, 409, 500, 502])
async def test_a_page_of_a_proxy_is_an_error_quoted_in_part(
    client: Client, scripted: FaultServer, status: int
) -> None:
    page = "<html>\n<body>  Bad Gateway" + "x" * 2000
    scripted.plan("GET", "", answer(status, page), answer(status, page))
    with pytest.raises(ApiError) as caught:
        await client.get(CONFIG_MAPS, KEY)
    assert caught.value.status == status
    assert caught.value.message.startswith("<html> <body> Bad Gateway")
    assert len(caught.value.message) <= 500
    with pytest.raises(ApiError) as caught:
        await follow(client)
    assert caught.value.status == status


@pytest.mark.parametrize("body", ["<html>login</html>", []], ids=["a page", "a list"])
async def test_a_success_that_is_no_object_is_a_failed_connection(
    client: Client, scripted: FaultServer, body: Any
) -> None:
    scripted.plan("GET", "", answer(200, body))
    with pytest.raises(ConnectionFailed, match="the reply is not"):
        await client.get(CONFIG_MAPS, KEY)


async def test_a_cut_connection(client: Client, scripted: FaultServer) -> None:
    scripted.plan("GET", "", drop(), drop())  # aiohttp itself tries an idempotent request twice
    with pytest.raises(ConnectionFailed, match="GET /api/v1/namespaces/team/configmaps/one: "):
        await client.get(CONFIG_MAPS, KEY)


async def test_nobody_listens(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(kubeconfig("http://127.0.0.1:9")))
    async with connect(ConnectionConfig(str(path))) as client:
        with pytest.raises(ConnectionFailed):
            await client.get(CONFIG_MAPS, KEY)


@VERBS
async def test_every_call_ends(
    client: Client, scripted: FaultServer, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_CALL_SECONDS", 0.05)
    scripted.plan(METHODS[verb], "", hang(), forever=True)
    with pytest.raises(ConnectionFailed, match=r": \S"):
        await call(client, verb)
    assert len(scripted.requests) == 1, "what may have been done is the caller's to judge"


@pytest.mark.parametrize("begun", [True, False], ids=["after an event", "before the reply"])
async def test_a_half_open_watch_is_found(
    client: Client, scripted: FaultServer, begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert max(WATCH_SECONDS) + verbs._WATCH_GRACE_SECONDS < 60
    monkeypatch.setattr(verbs, "_WATCH_GRACE_SECONDS", 0.1)
    scripted.plan("GET", "", stream([event("ADDED", ONE)], end="hang") if begun else hang())
    began = time.monotonic()
    with pytest.raises(ConnectionFailed):
        await follow(client, timeout_seconds=0)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("chunk", [1, 7, None])
async def test_watch_lines_cut_anywhere(client: Client, scripted: FaultServer, chunk: int | None) -> None:
    lines = [event("ADDED", ONE), event("DELETED", ONE), bookmark(7)]
    scripted.plan("GET", "", stream(lines, chunk=chunk))
    assert await follow(client) == ["ADDED one", "DELETED one", "BOOKMARK"]
    request = scripted.requests[0]
    assert request.query == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "1",
        "timeoutSeconds": "30",
    }


async def test_half_a_line_at_the_end_is_no_event(client: Client, scripted: FaultServer) -> None:
    half = json.dumps(event("MODIFIED", ONE)).encode()[:40]
    scripted.plan("GET", "", stream([event("ADDED", ONE), half]))
    assert await follow(client) == ["ADDED one"]


async def test_a_watch_that_breaks_is_a_failed_connection(client: Client, scripted: FaultServer) -> None:
    scripted.plan("GET", "", stream([event("ADDED", ONE)], end="abort"))
    with pytest.raises(ConnectionFailed):
        await follow(client)


async def test_both_ways_to_say_gone(client: Client, scripted: FaultServer) -> None:
    scripted.plan("GET", "", refuse(410, "Expired"), stream([event("ADDED", ONE), GONE], end="hang"))
    for _ in range(2):
        with pytest.raises(ApiError) as gone:
            await follow(client)
        assert gone.value.is_gone


async def test_leaving_a_watch_closes_its_connection(client: Client, scripted: FaultServer) -> None:
    left = asyncio.Event()

    async def until_left(*_: Any) -> Any:
        try:
            return await stream([event("ADDED", ONE)], end="hang")(*_)
        finally:
            left.set()

    scripted.plan("GET", "", until_left)
    events = client.watch(CONFIG_MAPS, resource_version="1", timeout_seconds=30)
    async with aclosing(events):
        await anext(events)
    async with asyncio.timeout(5):
        await left.wait()


async def test_what_requests_look_like(scripted: FaultServer, tmp_path: Path) -> None:
    async with scripted.client(tmp_path, user_agent="stoker-x/1.2", field_manager="stoker-x") as client:
        scripted.plan("PATCH", "", answer(200, ONE))
        scripted.plan("DELETE", "", answer(200, {}))
        await client.apply(CONFIG_MAPS, {"metadata": {"namespace": "team", "name": "one"}}, dry_run=True)
        await client.delete(CONFIG_MAPS, KEY, uid="u1")
    applied, deleted = scripted.requests
    assert applied.headers["User-Agent"] == "stoker-x/1.2"
    assert applied.headers["Content-Type"] == "application/apply-patch+yaml"
    assert applied.query == {"fieldManager": "stoker-x", "force": "true", "dryRun": "All"}
    assert json.loads(applied.body)["kind"] == "ConfigMap", "apply needs apiVersion and kind: put in"
    assert json.loads(deleted.body)["preconditions"] == {"uid": "u1"}
    assert json.loads(deleted.body)["propagationPolicy"] == "Background"


async def test_the_server_s_warnings_are_logged_once(client: Client, scripted: FaultServer) -> None:
    warning = '299 - "unknown field \\"spec.replica\\""'
    scripted.plan("GET", "", answer(200, ONE, Warning=warning), forever=True)
    with structlog.testing.capture_logs() as logs:
        await client.get(CONFIG_MAPS, KEY)
        await client.get(CONFIG_MAPS, KEY)
    assert [entry["warning"] for entry in logs] == [warning]


async def test_a_rotated_token_costs_one_failed_call(scripted: FaultServer, tmp_path: Path) -> None:
    token, path = tmp_path / "token", tmp_path / "kubeconfig"
    token.write_text("old\n")
    path.write_text(json.dumps(kubeconfig(scripted.url, tokenFile=str(token))))
    async with connect(ConnectionConfig(str(path))) as client:
        scripted.plan("GET", "", answer(200, ONE), refuse(401, "Unauthorized"), answer(200, ONE))
        await client.get(CONFIG_MAPS, KEY)
        token.write_text("new\n")
        await client.get(CONFIG_MAPS, KEY)
        assert [seen.headers["Authorization"] for seen in scripted.requests] == [
            "Bearer old",
            "Bearer old",
            "Bearer new",
        ]
        scripted.plan("GET", "", refuse(401, "Unauthorized"), forever=True)
        with pytest.raises(ApiError) as refused:
            await client.get(CONFIG_MAPS, KEY)
    assert refused.value.status == 401
    assert len(scripted.requests) == 4, "with the same token there is nothing to try again"


async def test_a_pod_s_token_is_read_anew_each_minute(
    scripted: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("first")
    authority.write_bytes(_any_certificate())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    monkeypatch.setattr("kubernetes_asyncio.config.incluster_config.SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr("kubernetes_asyncio.config.incluster_config.SERVICE_CERT_FILENAME", str(authority))
    monkeypatch.setattr(client_module, "_TOKEN_FILE", token)
    async with connect(ConnectionConfig()) as client:
        transport: Any = client._calls._transport
        transport._api.configuration.host = scripted.url
        scripted.plan("GET", "", answer(200, ONE), forever=True)
        await client.get(CONFIG_MAPS, KEY)
        token.write_text("second")
        await client.get(CONFIG_MAPS, KEY)
        transport._credentials._read_at -= 61
        token.write_text("")  # as it may be for a moment: keep the old one
        await client.get(CONFIG_MAPS, KEY)
        token.write_text("third")
        transport._credentials._read_at -= 61
        await client.get(CONFIG_MAPS, KEY)
    sent = [seen.headers["Authorization"].removeprefix("Bearer ") for seen in scripted.requests]
    assert sent == ["first", "first", "first", "third"]


def _any_certificate() -> bytes:
    import ssl

    paths = ssl.get_default_verify_paths()
    text = Path(paths.cafile or paths.openssl_cafile).read_text()
    return (text.partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n").encode()


@pytest.mark.parametrize("text", [None, "", "{}", "][", "clusters: 7", "current-context: it"])
async def test_a_kubeconfig_that_makes_no_sense(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigInvalid, match="kubeconfig"):
        async with connect(ConnectionConfig(str(path))):
            pass


async def test_the_loopback_is_never_reached_through_a_proxy(
    client: Client, scripted: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    scripted.plan("GET", "", answer(200, ONE))
    assert await client.get(CONFIG_MAPS, KEY) == ONE


def test_replies_are_never_logged() -> None:
    """kubernetes_asyncio logs whole bodies at DEBUG, Secrets included."""
    assert not logging.getLogger("kubernetes_asyncio.client.rest").isEnabledFor(logging.DEBUG)


async def test_cancelling_a_call_is_no_failed_connection(client: Client, scripted: FaultServer) -> None:
    scripted.plan("GET", "", hang())
    task = asyncio.create_task(client.get(CONFIG_MAPS, KEY))
    while not scripted.requests:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_the_namespace_is_the_contexts(tmp_path: Path) -> None:
    given = tmp_path / "config"
    context = {"cluster": "k", "user": "u", "namespace": "team-a"}
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": context}],
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:9"}}],
        "users": [{"name": "u", "user": {}}],
    }
    given.write_text(json.dumps(document))
    assert client_module.current_namespace(str(given)) == "team-a"
    assert client_module.current_namespace(str(tmp_path / "none")) == "default"
