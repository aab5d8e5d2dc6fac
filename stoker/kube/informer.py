"""A live copy of all objects of one kind: list once, then watch, and tell what changed.

The copy follows the server through whatever the connection does. What it promises is the state, not the
events: a change may be told late, merged with others, or after a delete and re-create as a delete and an
add; it is never lost.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager

import structlog

from stoker.kube.background import task_group
from stoker.kube.backoff import Backoff
from stoker.kube.errors import ApiError, ConnectionFailed
from stoker.kube.object_cache import ObjectCache
from stoker.kube.resource import Key, Object, Objects, Resource, key_of
from stoker.kube.verbs import Client
from stoker.kube.watching import WatchEvent

log = structlog.get_logger()

# How long a watch is asked to last. While objects of the kind change, the server sends a bookmark 2 s
# before it ends a watch (and else only each minute), so that the version moves on even while what we
# selected does not change, and the next watch does not begin in a past the server has forgotten. Together
# with the client's grace of 8 s it also bounds how long a connection that died in silence goes unnoticed:
# under 60 s. Random, so that watches do not end all at once.
WATCH_SECONDS = (40, 50)
_SOUND_WATCH_SECONDS = 5.0  # a watch that lived this long was no failure
# A kind that does not change at all is silent: with no newer version to tell, no bookmarks come. But a
# server waiting for a version that lies in its future, as after etcd was restored from a snapshot, is as
# silent, and would be for ever: so a list is taken now and then.
_LONGEST_SILENCE_SECONDS = 600.0

OnChange = Callable[[Object | None, Object | None], None]


class Informer:
    """Objects of one kind, selected on the server. Read-only: never change an object it returns."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        transform: Callable[[Object], Object] | None = None,
        indexers: Mapping[str, Callable[[Object], Iterable[str]]] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """`transform` may drop what nobody reads, to save memory; metadata.managedFields never stays."""
        self.resource = resource
        self.synced = asyncio.Event()
        """Set once the first list is in the cache; never cleared."""
        self._client = client
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._transform = transform
        self._cache = ObjectCache(indexers or {})
        self._handlers: list[OnChange] = []
        self._backoff = backoff or Backoff()
        self._version: str | None = None  # watch from here; None: list first
        self._heard: float | None = None

    def get(self, key: Key) -> Object | None:
        """The object as last seen."""
        return self._cache.get(key)

    def list(self, namespace: str | None = None) -> Objects:
        """All objects, or those of one namespace."""
        return self._cache.list(namespace)

    def by_index(self, name: str, value: str) -> Objects:
        """Objects for which the indexer `name` gave `value`."""
        return self._cache.by_index(name, value)

    def on_change(self, fn: OnChange) -> None:
        """Call `fn(old, new)` for each change, and now for each object that is here already.

        `old` is None for a new object, `new` is None for a deleted one. An exception from `fn` is logged.
        """
        self._handlers.append(fn)
        for obj in self._cache.list():
            _call(fn, None, obj)

    def seconds_since_heard(self) -> float:
        """How long ago the server last said anything; infinite before the first list."""
        return float("inf") if self._heard is None else _now() - self._heard

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run beside the body."""
        async with task_group() as group:
            task = group.create_task(self.run(), name=f"informer {self.resource.plural}")
            try:
                yield
            finally:
                task.cancel()

    async def run(self) -> None:
        """Keep the copy true for ever. Whatever fails is retried, with growing pauses; nothing is raised."""
        while True:
            began = _now()
            try:
                if self._version is None:
                    await self._list()
                    began = _now()
                await self._watch()
                pause = 0.0 if _now() - began >= _SOUND_WATCH_SECONDS else self._backoff.next()
            except (ApiError, ConnectionFailed) as error:
                pause = self._pause_after(error)
            except Exception:
                # A bug, or an object nobody expected: one kind's trouble must not stop the others.
                log.exception("the informer failed", resource=self.resource.plural)
                self._version = None
                pause = self._backoff.next()
            if _now() - began >= _SOUND_WATCH_SECONDS:
                self._backoff.reset()
            await asyncio.sleep(pause)

    def _pause_after(self, error: ApiError | ConnectionFailed) -> float:
        pause = self._backoff.next()
        if isinstance(error, ApiError):
            if error.is_gone:
                self._version = None
                log.info("listing anew: the version is gone", resource=self.resource.plural)
                return pause
            pause = max(pause, error.retry_after or 0.0)
        log.warning(
            "cannot follow the API server",
            resource=self.resource.plural,
            error=str(error),
            retry_in=round(pause, 1),
        )
        return pause

    async def _list(self) -> None:
        """Replace the cache's content, telling the difference: what vanished meanwhile was deleted."""
        listed = await self._client.list(
            self.resource,
            namespace=self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        self._heard = _now()
        found = {key_of(obj) for obj in listed.items}
        for key in self._cache.keys() - found:
            self._remove(key)
        for obj in listed.items:
            self._put(obj)
        self._version = listed.resource_version
        self.synced.set()

    async def _watch(self) -> None:
        """Follow changes until the server ends the stream."""
        assert self._version is not None
        silent = True
        events = self._client.watch(
            self.resource,
            namespace=self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            resource_version=self._version,
            timeout_seconds=random.randint(*WATCH_SECONDS),  # noqa: S311
        )
        async with aclosing(events):
            async for event in events:
                silent = False
                self._heard = _now()
                self._take(event)
                self._version = event.object["metadata"]["resourceVersion"]
        if silent and self.seconds_since_heard() >= _LONGEST_SILENCE_SECONDS:
            log.info("listing anew: the watches are silent", resource=self.resource.plural)
            self._version = None

    def _take(self, event: WatchEvent) -> None:
        if event.type == "DELETED":
            self._remove(key_of(event.object))
        elif event.type in {"ADDED", "MODIFIED"}:
            self._put(event.object)

    def _put(self, obj: Object) -> None:
        key = key_of(obj)
        old = self._cache.get(key)
        if old is not None and _uid(old) != _uid(obj):
            # Deleted and made anew while nobody looked: to whoever owns things by uid, another object.
            self._remove(key)
            old = None
        if old is not None and _version(old) == _version(obj):
            return  # told twice
        obj = self._trimmed(obj)
        self._cache.put(key, obj)
        self._tell(old, obj)

    def _remove(self, key: Key) -> None:
        old = self._cache.pop(key)
        if old is not None:
            self._tell(old, None)

    def _trimmed(self, obj: Object) -> Object:
        obj["metadata"].pop("managedFields", None)  # often half of an object, read by nobody
        if self._transform is None:
            return obj
        return self._transform(obj)

    def _tell(self, old: Object | None, new: Object | None) -> None:
        for fn in self._handlers:
            _call(fn, old, new)


def _call(fn: OnChange, old: Object | None, new: Object | None) -> None:
    try:
        fn(old, new)
    except Exception:
        obj = new or old or {}
        log.exception("a change handler failed", kind=obj.get("kind"), key=str(key_of(obj)))


def _uid(obj: Object) -> str | None:
    uid: str | None = obj["metadata"].get("uid")
    return uid


def _version(obj: Object) -> str | None:
    version: str | None = obj["metadata"].get("resourceVersion")
    return version


def _now() -> float:
    return asyncio.get_running_loop().time()
