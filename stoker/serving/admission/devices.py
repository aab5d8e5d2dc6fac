"""Which devices there are, and how many of a kind one node has at most: who asks for more waits for ever."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stoker.serving import quantities
from stoker.serving.api.reading import Object
from stoker.serving.problems import nearest
from stoker.serving.rendering.merge import is_extended
from stoker.serving.settings import Settings

_KNOWN = {row.resource for row in Settings().image_variants.accelerators if "*" not in row.resource}
_OF_QUOTAS = "requests."


def meant(name: str) -> str | None:
    """The known device of which a name differs by its case, `_` or a plural only: nobody calls two things so.

    Of other names that are near nothing can be said: nvidia.com/gpumem is a device of HAMi's. Names as they
    stand in a quota are those of no device: Kubernetes refuses them.
    """
    if name.startswith(_OF_QUOTAS):
        return name.removeprefix(_OF_QUOTAS)
    return None if name in _KNOWN else _PLAIN.get(_plain(name))


def near(name: str, others: Iterable[str]) -> str | None:
    """What was probably meant by a device that no node has: one that some node has, or that is known."""
    return nearest(name, {*_KNOWN, *others})


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").removesuffix("s")


_PLAIN = {_plain(each): each for each in _KNOWN}


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
