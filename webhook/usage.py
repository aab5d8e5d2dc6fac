"""Which InferenceServices use a runtime: an edit or a deletion of it names them in a warning."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from stoker.kube.resource import Key, Object, key_of


class Usage:
    """Fed by an informer of InferenceServices; read when a runtime is reviewed. Keys of the cluster's
    runtimes have no namespace."""

    def __init__(self, exists: Callable[[Key], bool]) -> None:
        """`exists` says whether there is such a runtime: a name alone means the namespace's own first."""
        self._exists = exists
        self._of: dict[Key, Key | str] = {}  # by InferenceService: its runtime, or only the name it gives
        self._by: dict[Key | str, set[Key]] = defaultdict(set)

    def changed(self, old: Object | None, new: Object | None) -> None:
        """An informer's `on_change`."""
        key = key_of(new or old or {})
        before = self._of.pop(key, None)
        if before is not None:
            self._by[before].discard(key)
            if not self._by[before]:
                del self._by[before]
        runtime = None if new is None else runtime_of(new)
        if runtime is not None:
            self._of[key] = runtime
            self._by[runtime].add(key)

    def users(self, runtime: Key) -> list[Key]:
        """The InferenceServices that use it, in order."""
        by_name = self._by.get(runtime.name, set())
        if runtime.namespace:
            by_name = {each for each in by_name if each.namespace == runtime.namespace}
        else:
            by_name = {each for each in by_name if not self._exists(Key(each.namespace, runtime.name))}
        return sorted(self._by.get(runtime, set()) | by_name)


def keep(isvc: Object) -> Object:
    """An informer's `transform`: 5,000 InferenceServices are to fit into a small pod."""
    metadata = {name: isvc["metadata"].get(name) for name in ("name", "namespace", "uid", "resourceVersion")}
    kept: Object = {"metadata": metadata}
    if (name := _named(isvc)) is not None:
        kept["spec"] = {"predictor": {"model": {"runtime": name}}}
    status = _mapping(isvc.get("status"))
    kept["status"] = {name: status[name] for name in _STATUS_FIELDS if name in status}
    return kept


_STATUS_FIELDS = ("servingRuntimeName", "clusterServingRuntimeName")


def runtime_of(isvc: Object) -> Key | str | None:
    """As the controller reports it; before it has, the name in the spec; None where it has none."""
    status = _mapping(isvc.get("status"))
    own, clusters = (status.get(name) for name in _STATUS_FIELDS)
    if isinstance(own, str) and own:
        return Key(key_of(isvc).namespace, own)
    if isinstance(clusters, str) and clusters:
        return Key("", clusters)
    return _named(isvc)


def _named(isvc: Object) -> str | None:
    part: Any = isvc
    for name in ("spec", "predictor", "model", "runtime"):
        part = _mapping(part).get(name)
    return part if isinstance(part, str) and part else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
