"""What the scheduler's words and a pod's requests say about who holds what.

Asked when a new revision's pods find no node: is it the old revision that holds what they need? Only then
does taking the old one away help, and only if its pods ask for as much as the new ones do: a model that fits
nowhere must not cost the one that serves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from stoker.serving.api.reading import Object
from stoker.serving.quantities import parse

# "0/3 nodes are available: 1 Insufficient cpu, 2 Insufficient nvidia.com/gpu. preemption: ..."
_INSUFFICIENT = re.compile(r"\bInsufficient ([A-Za-z0-9./_-]*[A-Za-z0-9])")
_TOO_MANY_PODS = re.compile(r"\bToo many pods\b")

Requests = Mapping[str, Decimal]


def insufficient(message: str) -> frozenset[str]:
    """The resources that the scheduler's message names as insufficient: {"cpu", "nvidia.com/gpu"}."""
    words = message.partition("preemption:")[0]
    found = frozenset(_INSUFFICIENT.findall(words))
    return found | {"pods"} if _TOO_MANY_PODS.search(words) else found


def frees_enough(message: str, wanted: Requests, held: Requests) -> bool:
    """Whether the end of one pod that holds `held` makes room for one that wants `wanted`.

    True only where the message names nothing but resources of which the held pod has at least as much:
    where it has less, nobody here knows how much of the node is free besides.
    """
    short = insufficient(message) - {"pods"}
    if not short:
        return "pods" in insufficient(message)
    return all(
        resource in wanted and held.get(resource, Decimal(0)) >= wanted[resource] for resource in short
    )


def pod_requests(spec: Object) -> dict[str, Decimal]:
    """What a pod of this spec asks the scheduler for, by resource; limits count where a request is absent.

    Quantities that cannot be read are left out: the API server would have refused them.
    """
    total: dict[str, Decimal] = {}
    for container in spec.get("containers") or []:
        total = _sum(total, _requests(container))
    started: dict[str, Decimal] = {}  # init containers that stay, as sidecars do
    highest: dict[str, Decimal] = {}
    for container in spec.get("initContainers") or []:
        mine = _requests(container)
        if container.get("restartPolicy") == "Always":
            started = _sum(started, mine)
            highest = _max(highest, started)
        else:
            highest = _max(highest, _sum(started, mine))
    whole = _max(_sum(total, started), highest)
    return whole | _requests(spec)  # pod-level resources replace the sum


def _requests(owner: Object) -> dict[str, Decimal]:
    resources = owner.get("resources") or {}
    given = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    read: dict[str, Decimal] = {}
    for name, value in given.items():
        try:
            read[name] = parse(value)
        except ValueError:
            continue
    return read


def _sum(one: Requests, other: Requests) -> dict[str, Decimal]:
    return {
        name: one.get(name, Decimal(0)) + other.get(name, Decimal(0)) for name in one.keys() | other.keys()
    }


def _max(one: Requests, other: Requests) -> dict[str, Decimal]:
    zero = Decimal(0)
    return {name: max(one.get(name, zero), other.get(name, zero)) for name in one.keys() | other.keys()}
