"""The API's verbs over a transport: plain JSON in and out, two exceptions (`stoker.kube.errors`).

Every call has a timeout, and a reply's status is looked at before its body.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
import structlog

from stoker.kube.errors import ApiError, ConnectionFailed
from stoker.kube.resource import Key, Object, Resource, key_of
from stoker.kube.watching import WatchEvent, parse_event, split_lines

log = structlog.get_logger()

PAGE = 500
_CONNECT_SECONDS = 10.0
_CALL_SECONDS = 30.0  # the server itself gives up on a call after 60 s; a sound one answers in less than 1
_WATCH_GRACE_SECONDS = 8.0  # past the end the server was asked for; later the stream is taken as half-open
_TRIES = 4
_LONGEST_PAUSE = 5.0  # a longer Retry-After is the caller's to wait for, without holding a worker

JSON = "application/json"
APPLY = "application/apply-patch+yaml"  # JSON is YAML
MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True)
class ObjectList:
    """All objects of a list, at one version of the store."""

    items: list[Object]
    resource_version: str


@dataclass(frozen=True)
class Request:
    """One call. `idempotent`: done twice it leaves what once would, so that a 5xx may be retried."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Object | None = None
    content_type: str = JSON
    idempotent: bool = True


class Transport(Protocol):
    """What carries requests: connections, TLS and who we are."""

    async def send(self, request: Request, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        """Send; return once the reply's head is there. Raises aiohttp.ClientError, TimeoutError, OSError."""

    async def refresh_credentials(self) -> bool:
        """Read them anew after a 401; true when they changed, so that another try makes sense."""


class Client:
    """Calls on the API server. Share one per process; all methods may be used at the same time."""

    def __init__(
        self, transport: Transport, field_manager: str, before_write: Callable[[], None] | None = None
    ) -> None:
        self._transport = transport
        self._field_manager = field_manager
        self._before_write = before_write
        self._warned: set[str] = set()

    def fenced(self, check: Callable[[], None]) -> Client:
        """This client, except that `check` runs just before each write is sent and may stop it by raising.

        With `LeaderLease.check` a process that slept past the end of its lease writes nothing when it
        wakes, whatever it was about to send.
        """
        return Client(self._transport, self._field_manager, check)

    async def get(self, resource: Resource, key: Key) -> Object:
        """The object; ApiError 404 where there is none."""
        return await self._call(Request("GET", resource.path(key.namespace, key.name)))

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> ObjectList:
        """All objects selected, read in pages, as they were at one moment.

        Items of a list carry no apiVersion and kind on the wire; they are put in.
        """
        selection = _selection(label_selector, field_selector) | {"limit": str(PAGE)}
        path = resource.path(namespace)
        for expired in range(3):
            try:
                return await self._list_pages(resource, path, selection)
            except ApiError as error:
                # The page token outlived the version it belongs to: the list must start over.
                if not error.is_gone or expired == 2:
                    raise
        raise AssertionError("unreachable")

    async def _list_pages(self, resource: Resource, path: str, selection: dict[str, str]) -> ObjectList:
        items: list[Object] = []
        query = dict(selection)
        while True:
            page = await self._call(Request("GET", path, query))
            for item in page.get("items") or []:
                item.setdefault("apiVersion", resource.api_version)
                item.setdefault("kind", resource.kind)
                items.append(item)
            token = page["metadata"].get("continue")
            if not token:
                return ObjectList(items, page["metadata"]["resourceVersion"])
            query = selection | {"continue": token}

    async def create(self, resource: Resource, obj: Object, *, dry_run: bool = False) -> Object:
        """Store a new object (metadata.generateName works); ApiError AlreadyExists where one has its name."""
        path = resource.path(obj["metadata"].get("namespace"))
        query = self._write_query(dry_run)
        return await self._call(Request("POST", path, query, obj, idempotent=False))

    async def apply(
        self,
        resource: Resource,
        obj: Object,
        *,
        subresource: str | None = None,
        force: bool = True,
        dry_run: bool = False,
    ) -> Object:
        """Server-side apply: make the fields in `obj` so, give up those left out since the last apply.

        Creates the object where it is missing. Without `force` a field of another manager is a conflict.
        """
        query = self._write_query(dry_run) | {"force": "true" if force else "false"}
        path = resource.path(*_address(obj), subresource)
        obj = {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
        return await self._call(Request("PATCH", path, query, obj, APPLY))

    async def merge_patch(
        self, resource: Resource, key: Key, patch: Object, *, subresource: str | None = None
    ) -> Object:
        """JSON merge patch (RFC 7396) of an object that exists. A resourceVersion in it is a precondition."""
        path = resource.path(key.namespace, key.name, subresource)
        return await self._call(Request("PATCH", path, self._write_query(), patch, MERGE_PATCH))

    async def replace(self, resource: Resource, obj: Object, *, subresource: str | None = None) -> Object:
        """Replace the whole object; its metadata.resourceVersion is the precondition (ApiError conflict)."""
        path = resource.path(*_address(obj), subresource)
        return await self._call(Request("PUT", path, self._write_query(), obj))

    async def delete(
        self, resource: Resource, key: Key, *, uid: str | None = None, propagation: str = "Background"
    ) -> None:
        """Delete it; that it is gone already is success.

        With `uid` only that very object is deleted, never a later one of the same name, and finding a
        later one is success too: the one meant is gone.
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self._call(Request("DELETE", resource.path(key.namespace, key.name), {}, options))
        except ApiError as error:
            if error.is_not_found or (uid and error.is_conflict and await self._is_gone(resource, key, uid)):
                return
            raise

    async def _is_gone(self, resource: Resource, key: Key, uid: str) -> bool:
        try:
            return bool((await self.get(resource, key))["metadata"]["uid"] != uid)
        except ApiError as error:
            if error.is_not_found:
                return True
            raise

    async def watch(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str,
        timeout_seconds: int,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes after `resource_version`, with bookmarks, until the server ends the stream.

        The server is asked to end it after `timeout_seconds`; a stream that lives on longer is half-open
        and raises ConnectionFailed. An ERROR event raises its ApiError. Iterate under
        `contextlib.aclosing`, so that leaving early closes the connection.
        """
        query = _selection(label_selector, field_selector) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
        }
        limit = aiohttp.ClientTimeout(
            total=timeout_seconds + _WATCH_GRACE_SECONDS, sock_connect=_CONNECT_SECONDS
        )
        request = Request("GET", resource.path(namespace), query)
        async with (
            self._reply(request, limit) as reply,
            aclosing(split_lines(reply.content.iter_any())) as lines,
        ):
            async for line in lines:
                yield parse_event(line)

    def _write_query(self, dry_run: bool = False) -> dict[str, str]:
        return {"fieldManager": self._field_manager} | ({"dryRun": "All"} if dry_run else {})

    async def _call(self, request: Request) -> Object:
        """The reply's JSON. Overload is waited out a few times, where the server says for how long."""
        limit = aiohttp.ClientTimeout(total=_CALL_SECONDS, sock_connect=_CONNECT_SECONDS)
        for attempt in range(1, _TRIES + 1):
            try:
                async with self._reply(request, limit) as reply:
                    return _parse(await reply.read())
            except ApiError as error:
                pause = await self._pause_before_retry(request, error, attempt)
                if pause is None:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _pause_before_retry(self, request: Request, error: ApiError, attempt: int) -> float | None:
        """Seconds until the request may be sent again; None where it may not."""
        if attempt == _TRIES:
            return None
        if error.status == 401:  # the token was rotated: one more try with the new one
            return 0.0 if attempt == 1 and await self._transport.refresh_credentials() else None
        if error.retry_after is None or error.retry_after > _LONGEST_PAUSE:
            return None
        # 429 means not begun, so anything may be sent again; after a 5xx a create may have happened.
        if error.status == 429 or (error.status >= 500 and request.idempotent):
            return error.retry_after
        return None

    @asynccontextmanager
    async def _reply(
        self, request: Request, limit: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._before_write is not None and request.method != "GET":
            self._before_write()
        try:
            reply = await self._transport.send(request, limit)
            async with reply:
                self._log_warnings(reply)
                if reply.status >= 300:
                    raise ApiError.from_reply(
                        reply.status, await reply.read(), reply.reason, reply.headers.get("Retry-After")
                    )
                yield reply
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            what = str(error) or type(error).__name__  # a TimeoutError has no words of its own
            raise ConnectionFailed(f"{request.method} {request.path}: {what}") from error

    def _log_warnings(self, reply: aiohttp.ClientResponse) -> None:
        """The server's remarks (an unknown field, a version that will go), each once."""
        for warning in reply.headers.getall("Warning", []):
            if warning not in self._warned and len(self._warned) < 1000:
                self._warned.add(warning)
                log.warning("the API server warns", warning=warning, path=reply.url.path)


def _parse(body: bytes) -> Object:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise ConnectionFailed(f"the reply is not JSON: {body[:100]!r}") from error
    if not isinstance(document, dict):
        raise ConnectionFailed(f"the reply is not an object: {body[:100]!r}")
    return document


def _address(obj: Object) -> Key:
    return key_of(obj)


def _selection(label_selector: str, field_selector: str) -> dict[str, str]:
    selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {name: selector for name, selector in selectors.items() if selector}
