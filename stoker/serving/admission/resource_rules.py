"""What Kubernetes asks of requests and limits beyond types: of one container, and of the pod as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from stoker.serving import quantities
from stoker.serving.admission import devices, syntax
from stoker.serving.admission.places import Place
from stoker.serving.admission.pod_shape import Rule
from stoker.serving.problems import FieldProblem, forbidden, invalid, not_supported, required
from stoker.serving.rendering.checks import check_resources

Found = Iterator[FieldProblem]
Object = Mapping[str, Any]
PAGES = "hugepages-"
_PARTS = ("requests", "limits")
_BYTES = ("ephemeral-storage", "memory")
_OF_CONTAINERS = ("cpu", *_BYTES)
_OF_PODS = ("cpu", "memory")


def _resources(resources: Object, at: Place) -> Found:
    for part in _PARTS:
        for name, value in (resources.get(part) or {}).items():
            path = at.field(part).field(name).path
            if "/" in name:
                yield from syntax.qualified_name(name, path)
                known = devices.meant(name)
                if known is not None:
                    yield invalid(path, name, f'no device is called so; did you mean "{known}"?')
            elif name.startswith(PAGES):
                yield from _whole_pages(name, value, path)
            elif name not in _OF_CONTAINERS:
                yield not_supported(path, name, _OF_CONTAINERS, 'devices have a domain: "nvidia.com/gpu"')
            elif name in _BYTES and 0 < (_amount(value) or 0) < 2**20:
                yield invalid(path, value, 'is less than a mebibyte; with a unit: "512Mi", "16Gi"')
    yield from _reserved(resources, at)


def _whole_pages(name: str, value: Any, path: str) -> Found:
    size, amount = _amount(name.removeprefix(PAGES)), _amount(value)
    if size is None or size <= 0 or size != size.to_integral_value():
        yield invalid(path, name, 'must end in the size of a page: "hugepages-2Mi"')
    elif amount is not None and amount % size:
        yield invalid(path, value, f"must be a multiple of the page, {name.removeprefix(PAGES)}")


def _reserved(resources: Object, at: Place) -> Found:
    """Pages are nobody else's: what is asked for is the limit, beside processor or memory."""
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    paged = [name for name in (*requests, *limits) if name.startswith(PAGES)]
    for name in requests:
        if not name.startswith(PAGES):
            continue
        asked, limit = _amount(requests[name]), _amount(limits.get(name))
        if name not in limits:
            yield required(at.field("limits").field(name).path, "pages need a limit, equal to the request")
        elif asked is not None and limit is not None and asked < limit:  # more than the limit is told of all
            path = at.field("requests").field(name).path
            yield invalid(path, requests[name], f"must be equal to the limit, which is {limits[name]}")
    if paged and not {"cpu", "memory"} & {*requests, *limits}:
        yield forbidden(at.path, f"{paged[0]} is only for whom asks for cpu or memory too")


def of_pod(resources: Object, at: Place) -> Found:
    """`resources` of the pod itself, by themselves."""
    if resources.get("claims") is not None:
        yield forbidden(at.field("claims").path, "a pod's claims are resourceClaims, named by its containers")
    for part in _PARTS:
        for name in resources.get(part) or {}:
            if "/" in name or name == "ephemeral-storage":
                detail = "write others at the containers"
                yield not_supported(
                    at.field(part).field(name).path, name, (*_OF_PODS, f"{PAGES}SIZE"), detail
                )
    yield from check_resources({"resources": resources}, at.path)


def within_pod(pod: Object, at: Place) -> Found:
    """No container may have more than the pod, nor all of them together ask for more."""
    whole = pod.get("resources") or {}
    place = at.field("resources")
    containers, starting = pod.get("containers") or [], pod.get("initContainers") or []
    for name, value in (whole.get("requests") or {}).items():
        given, asked = _amount(value), _asked(containers, starting, name)
        if given is not None and asked > given:
            path = place.field("requests").field(name).path
            total = quantities.canonical(asked)
            yield invalid(path, value, f"must be at least what the containers ask for together, {total}")
    for name, value in (whole.get("limits") or {}).items():
        given = _amount(value)
        for container in containers:
            limit = _amount(((container.get("resources") or {}).get("limits") or {}).get(name))
            if given is not None and limit is not None and limit > given:
                path = place.field("limits").field(name).path
                yield invalid(path, value, f"must be at least the limit of container {container.get('name')}")
                break


def _asked(containers: Sequence[Object], starting: Sequence[Object], name: str) -> Decimal:
    """What a pod needs at its busiest: init containers run by turns, beside the sidecars before them."""
    beside, most = Decimal(0), Decimal(0)
    for container in starting:
        if container.get("restartPolicy") == "Always":
            beside += _request(container, name)
        else:
            most = max(most, beside + _request(container, name))
    return max(most, beside + sum((_request(each, name) for each in containers), Decimal(0)))


def _request(container: Object, name: str) -> Decimal:
    resources = container.get("resources") or {}
    given = (resources.get("requests") or {}).get(name)
    if given is None:  # then it is the limit
        given = (resources.get("limits") or {}).get(name)
    return _amount(given) or Decimal(0)


def _amount(value: Any) -> Decimal | None:
    """None: there is none, it is filled in later, or it is no quantity, which is told as such."""
    try:
        return quantities.parse(value)
    except ValueError:
        return None


RESOURCE_RULES: Mapping[str, Rule] = {"ResourceRequirements": _resources}
