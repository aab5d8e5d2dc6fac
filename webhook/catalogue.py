"""The runtimes of the cluster as reviews need them: parsed once when they change, listed by namespace."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

import structlog

from stoker.kube.resource import Key, Object, Resource, key_of
from stoker.serving import names
from stoker.serving.api.objects import ServingRuntime, parse_runtime
from stoker.serving.problems import Invalid
from webhook.review import CLUSTER_RUNTIMES, RUNTIMES

log = structlog.get_logger()

_GROUP, _VERSION = names.RUNTIME_VERSION.split("/")
SERVING_RUNTIMES = Resource(_GROUP, _VERSION, RUNTIMES, names.RUNTIME_KIND)
CLUSTER_SERVING_RUNTIMES = Resource(
    _GROUP, _VERSION, CLUSTER_RUNTIMES, names.CLUSTER_RUNTIME_KIND, namespaced=False
)


class Catalogue:
    """Fed by informers of both kinds; read on every review."""

    def __init__(self, on_size: Callable[[int, int], None] = lambda usable, unreadable: None) -> None:
        """`on_size` hears how many runtimes are usable and how many cannot be read, after each change."""
        self._on_size = on_size
        self._by_namespace: dict[str, dict[str, ServingRuntime]] = defaultdict(dict)
        self._unreadable: set[Key] = set()
        self._usable: dict[str, tuple[ServingRuntime, ...]] = {}  # by namespace, until something changes
        self._news = asyncio.Event()

    def changed(self, old: Object | None, new: Object | None) -> None:
        """An informer's `on_change`. Cluster-scoped runtimes have no namespace, so kinds cannot collide."""
        self._usable.clear()
        if new is not None:
            self._put(new)
        elif old is not None:
            self._remove(key_of(old))
        self._on_size(sum(map(len, self._by_namespace.values())), len(self._unreadable))
        self._news.set()
        self._news = asyncio.Event()

    def usable_in(self, namespace: str) -> tuple[ServingRuntime, ...]:
        """The runtimes that an InferenceService of this namespace can have: its own and the cluster's.

        In the order of their names, so that messages that list them are the same from every replica.
        """
        if namespace not in self._usable:
            found = [self._by_namespace.get(each, {}) for each in dict.fromkeys((namespace, ""))]
            self._usable[namespace] = tuple(runtimes[name] for runtimes in found for name in sorted(runtimes))
        return self._usable[namespace]

    async def other_than(self, known: Sequence[ServingRuntime], namespace: str) -> None:
        """Return once the namespace can have other runtimes than those `known`."""
        while self.usable_in(namespace) == known:
            await self._news.wait()

    def has(self, key: Key) -> bool:
        """Whether there is such a runtime that can be read."""
        return key.name in self._by_namespace.get(key.namespace, {})

    def _put(self, obj: Object) -> None:
        key = key_of(obj)
        try:
            runtime = parse_runtime(obj)
        except Invalid as fault:
            # Stored before there was a rule against it. Nothing can run on it, for the controller neither.
            log.warning("a runtime cannot be read and is left out", runtime=str(key), reason=str(fault))
            self._remove(key)
            self._unreadable.add(key)
            return
        self._unreadable.discard(key)
        self._by_namespace[key.namespace][key.name] = runtime

    def _remove(self, key: Key) -> None:
        self._unreadable.discard(key)
        held = self._by_namespace.get(key.namespace, {})
        held.pop(key.name, None)
        if not held:
            self._by_namespace.pop(key.namespace, None)
