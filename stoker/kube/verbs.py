"""The API's verbs: plain JSON in and out, two exceptions (`stoker.kube.errors`)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from stoker.kube.calls import APPLY, MERGE_PATCH, Calls, Request
from stoker.kube.errors import ApiError
from stoker.kube.resource import Key, Object, Resource, key_of
from stoker.kube.watching import WatchEvent, parse_event, split_lines

PAGE = 500
_WATCH_GRACE_SECONDS = 8.0  # past the end the server was asked for; later the stream is taken as half-open


@dataclass(frozen=True)
class ObjectList:
    """All objects of a list, at one version of the store."""

    items: list[Object]
    resource_version: str


class Client:
    """Calls on the API server. Share one per process; all methods may be used at the same time."""

    def __init__(self, calls: Calls, field_manager: str) -> None:
        self._calls = calls
        self._field_manager = field_manager

    def fenced(self, check: Callable[[], None]) -> Client:
        """This client, except that `check` runs just before each write is sent and may stop it by raising.

        With `LeaderLease.check` a process that slept past the end of its lease writes nothing when it
        wakes, whatever it was about to send.
        """
        return Client(self._calls.fenced(check), self._field_manager)

    async def get(self, resource: Resource, key: Key) -> Object:
        """The object; ApiError 404 where there is none."""
        return await self._calls.call(Request("GET", resource.path(key.namespace, key.name)))

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
            page = await self._calls.call(Request("GET", path, query))
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
        return await self._calls.call(Request("POST", path, query, obj, idempotent=False))

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
        return await self._calls.call(Request("PATCH", path, query, obj, APPLY))

    async def merge_patch(
        self, resource: Resource, key: Key, patch: Object, *, subresource: str | None = None
    ) -> Object:
        """JSON merge patch (RFC 7396) of an object that exists. A resourceVersion in it is a precondition."""
        path = resource.path(key.namespace, key.name, subresource)
        return await self._calls.call(Request("PATCH", path, self._write_query(), patch, MERGE_PATCH))

    async def replace(self, resource: Resource, obj: Object, *, subresource: str | None = None) -> Object:
        """Replace the whole object; its metadata.resourceVersion is the precondition (ApiError conflict)."""
        path = resource.path(*_address(obj), subresource)
        return await self._calls.call(Request("PUT", path, self._write_query(), obj))

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
            await self._calls.call(Request("DELETE", resource.path(key.namespace, key.name), {}, options))
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

    async def through(
        self,
        resource: Resource,
        key: Key,
        path: str,
        *,
        port: str,
        scheme: str = "",
        headers: Mapping[str, str] | None = None,
        body: Object | None = None,
        seconds: float = 5.0,
    ) -> tuple[int, bytes]:
        """A page of a pod or Service, through the API server's proxy: status and body, whosever they are.

        `port`: a number, or a name of the Service's. With `body` it is a POST. Raises ApiError where the
        API server itself refused or did not reach it, ConnectionFailed.
        """
        target = ":".join([*([scheme] if scheme else []), key.name, port])
        place = f"{resource.path(key.namespace, target, 'proxy')}/{path.lstrip('/')}"
        method = "GET" if body is None else "POST"
        request = Request(method, place, body=body, headers={"Accept": "*/*", **(headers or {})})
        status, content = await self._calls.page(request, seconds)
        if status >= 400 and b'"kind":"Status"' in content.replace(b'": "', b'":"'):
            raise ApiError.from_reply(status, content, None, None)
        return status, content

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
        request = Request("GET", resource.path(namespace), query)
        async with (
            self._calls.reply(request, timeout_seconds + _WATCH_GRACE_SECONDS) as reply,
            aclosing(split_lines(reply.content.iter_any())) as lines,
        ):
            async for line in lines:
                yield parse_event(line)

    def _write_query(self, dry_run: bool = False) -> dict[str, str]:
        return {"fieldManager": self._field_manager} | ({"dryRun": "All"} if dry_run else {})


def _address(obj: Object) -> Key:
    return key_of(obj)


def _selection(label_selector: str, field_selector: str) -> dict[str, str]:
    selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {name: selector for name, selector in selectors.items() if selector}
