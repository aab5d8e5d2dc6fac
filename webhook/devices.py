"""The cluster's devices, as far as reviews ask: how many of a kind one node has at most."""

from __future__ import annotations

from collections.abc import Mapping

from stoker.kube.resource import Key, Object, key_of
from stoker.serving.admission.devices import counts, largest


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
        self._largest = largest(self._nodes.values())


def keep(node: Object) -> Object:
    """An informer's `transform`: of a node, only what is read here."""
    metadata = {name: node["metadata"].get(name) for name in ("name", "uid", "resourceVersion")}
    return {"metadata": metadata, "status": {"allocatable": counts(node)}}
