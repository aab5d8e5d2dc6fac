"""How many devices of a kind one node has at most: who asks for more waits for ever."""

from __future__ import annotations

from collections.abc import Mapping

from stoker.kube.resource import Key, Object, key_of
from stoker.serving import quantities
from stoker.serving.rendering.merge import is_extended


class Devices:
    """Fed by an informer of nodes; read on every review."""

    def __init__(self) -> None:
        self._nodes: dict[Key, Mapping[str, int]] = {}
        self._largest: Mapping[str, int] | None = None

    @property
    def largest(self) -> Mapping[str, int] | None:
        """By resource the largest count on one node, cordoned ones included; None where no node is known."""
        return self._largest

    def changed(self, old: Object | None, new: Object | None) -> None:
        """An informer's `on_change`."""
        key = key_of(new or old or {})
        before = self._nodes.get(key)
        after = None if new is None else counts(new)
        if after == before:
            return  # a node's status is written every few minutes, and its devices hardly ever change
        if after is None:
            self._nodes.pop(key, None)
        else:
            self._nodes[key] = after
        largest: dict[str, int] = {}
        for held in self._nodes.values():
            for name, count in held.items():
                largest[name] = max(count, largest.get(name, 0))
        self._largest = largest if self._nodes else None


def keep(node: Object) -> Object:
    """An informer's `transform`: of a node, only what is read here."""
    metadata = {name: node["metadata"].get(name) for name in ("name", "uid", "resourceVersion")}
    return {"metadata": metadata, "status": {"allocatable": counts(node)}}


def counts(node: Object) -> Mapping[str, int]:
    """The devices of a node that pods can get."""
    found = {}
    for name, value in ((node.get("status") or {}).get("allocatable") or {}).items():
        if is_extended(name):
            try:
                found[name] = int(quantities.parse(value))
            except ValueError:
                continue  # no kubelet writes such; and it is only about a warning
    return found
