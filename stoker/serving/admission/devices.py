"""How many devices of a kind one node has at most: who asks for more waits for ever."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stoker.serving import quantities
from stoker.serving.api.reading import Object
from stoker.serving.rendering.merge import is_extended


def counts(node: Object) -> dict[str, int]:
    """The devices of a Node that pods can get, by resource: {"nvidia.com/gpu": 8}."""
    found = {}
    for name, value in ((node.get("status") or {}).get("allocatable") or {}).items():
        if is_extended(name):
            try:
                found[name] = int(quantities.parse(value))
            except ValueError:
                continue  # no kubelet writes such; and it is only about a warning
    return found


def largest(nodes: Iterable[Mapping[str, int]]) -> dict[str, int] | None:
    """By resource the largest of the nodes' counts; None where there is no node at all."""
    found: dict[str, int] | None = None
    for held in nodes:
        found = {} if found is None else found
        for name, count in held.items():
            found[name] = max(count, found.get(name, 0))
    return found
