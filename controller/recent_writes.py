"""What was just written and is not in the caches yet.

A cache learns of our own write some milliseconds after the API server's reply. A reconcile in between would
find its own Deployment missing and send it again. So replies are remembered until the cache has caught up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from stoker.kube.resource import Key, Object, Resource, key_of

# A cache that is behind by more than this has other troubles. It also bounds how long an object that
# somebody deleted at once, unseen by the cache, is taken to exist.
KEPT_SECONDS = 10.0


@dataclass(frozen=True)
class _Write:
    obj: Object | None  # None: deleted
    uid: str
    at: float


class RecentWrites:
    """Replies to writes, by kind and by the InferenceService that they were made for."""

    def __init__(self) -> None:
        self._writes: dict[tuple[Resource, Key], dict[Key, _Write]] = {}

    def note(self, resource: Resource, owner: Key, reply: Object) -> None:
        """Remember what the API server has now. `owner`: the InferenceService's key."""
        reply["metadata"].pop("managedFields", None)
        write = _Write(reply, reply["metadata"]["uid"], _now())
        self._writes.setdefault((resource, owner), {})[key_of(reply)] = write

    def note_deleted(self, resource: Resource, owner: Key, obj: Object) -> None:
        """Remember that this very object is gone."""
        write = _Write(None, obj["metadata"]["uid"], _now())
        self._writes.setdefault((resource, owner), {})[key_of(obj)] = write

    def seen(self, resource: Resource, owner: Key, old: Object) -> None:
        """The cache saw this object's end: it needs no help any more."""
        mine = self._writes.get((resource, owner), {})
        write = mine.get(key_of(old))
        if write is not None and write.uid == old["metadata"].get("uid"):
            del mine[key_of(old)]

    def forget(self, owner: Key) -> None:
        """The InferenceService is gone."""
        for resource, key in [each for each in self._writes if each[1] == owner]:
            del self._writes[resource, key]

    def merge(self, resource: Resource, owner: Key, cached: Iterable[Object]) -> list[Object]:
        """The cached objects, brought up to date with what was written since."""
        found = {key_of(obj): obj for obj in cached}
        mine = self._writes.get((resource, owner))
        for key, write in list((mine or {}).items()):
            assert mine is not None
            obj = found.get(key)
            if _now() - write.at > KEPT_SECONDS or (obj is not None and _caught_up(obj, write)):
                del mine[key]
            elif write.obj is not None:
                found[key] = write.obj
            elif obj is not None:
                del found[key]
        return list(found.values())


def _caught_up(cached: Object, write: _Write) -> bool:
    if cached["metadata"].get("uid") != write.uid:
        return True
    if write.obj is None:
        return False
    try:
        return int(cached["metadata"]["resourceVersion"]) >= int(write.obj["metadata"]["resourceVersion"])
    except ValueError:
        return True  # versions that cannot be compared: the cache is the truth


def _now() -> float:
    return asyncio.get_running_loop().time()
