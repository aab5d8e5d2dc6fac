"""Objects by key, by namespace and by whatever else is looked up often."""

from __future__ import annotations

from collections.abc import Callable, Iterable, KeysView, Mapping

import structlog

from stoker.kube.resource import Key, Object, Objects

log = structlog.get_logger()

_NAMESPACE = ""  # the index that is always there; indexers have names


class ObjectCache:
    """A dictionary of objects with indexes kept beside it."""

    def __init__(self, indexers: Mapping[str, Callable[[Object], Iterable[str]]]) -> None:
        self._objects: dict[Key, Object] = {}
        self._indexers = {**indexers, _NAMESPACE: _namespace_of}
        # Which keys an index value has (a dict for its order), and which values a key has.
        self._index: dict[tuple[str, str], dict[Key, None]] = {}
        self._entries: dict[Key, list[tuple[str, str]]] = {}

    def get(self, key: Key) -> Object | None:
        """The object of that key."""
        return self._objects.get(key)

    def keys(self) -> KeysView[Key]:
        """All keys."""
        return self._objects.keys()

    def list(self, namespace: str | None = None) -> Objects:
        """All objects, or those of one namespace."""
        return list(self._objects.values()) if namespace is None else self._found(_NAMESPACE, namespace)

    def by_index(self, name: str, value: str) -> Objects:
        """Objects for which the indexer `name` gave `value`; KeyError where there is no such indexer."""
        if name not in self._indexers:
            raise KeyError(f"no indexer is called {name}")
        return self._found(name, value)

    def put(self, key: Key, obj: Object) -> None:
        """Store or replace."""
        self._drop_entries(key)
        self._objects[key] = obj
        entries = {(name, value): None for name in self._indexers for value in self._values(name, key, obj)}
        self._entries[key] = list(entries)  # each once, even where an indexer repeats itself
        for entry in entries:
            self._index.setdefault(entry, {})[key] = None

    def pop(self, key: Key) -> Object | None:
        """Remove and return it, or None where it was not there."""
        self._drop_entries(key)
        return self._objects.pop(key, None)

    def _values(self, name: str, key: Key, obj: Object) -> Iterable[str]:
        try:
            return list(self._indexers[name](obj))
        except Exception:
            # One object of an unexpected shape must not hide all others.
            log.exception("an indexer failed", index=name, kind=obj.get("kind"), key=str(key))
            return []

    def _found(self, name: str, value: str) -> Objects:
        return [self._objects[key] for key in self._index.get((name, value), ())]

    def _drop_entries(self, key: Key) -> None:
        for entry in self._entries.pop(key, ()):
            keys = self._index[entry]
            del keys[key]
            if not keys:
                del self._index[entry]


def _namespace_of(obj: Object) -> Iterable[str]:
    return [obj["metadata"].get("namespace") or ""]
