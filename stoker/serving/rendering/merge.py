"""The user's container and pod fields over the runtime's, as a strategic merge patch would do it.

Lists with a key (env by name, volumeMounts by mountPath, ...) merge entry by entry, the overlay's entries
first as KServe has them; objects merge field by field; everything else is replaced. Arguments are merged as
flags. `null` in the overlay takes the runtime's field away.

Where a patch would leave a pod that the API server refuses, the user's part wins whole: two sources of one
variable, two handlers of one probe, two ports of one name, requests over limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stoker.serving import quantities
from stoker.serving.api.reading import Object
from stoker.serving.api.shapes import CONTAINER_KEYS, POD_KEYS
from stoker.serving.rendering.arguments import merge_args

# Of these an object may have one: where the overlay brings one, the runtime's other one goes.
_HANDLERS = frozenset({"exec", "grpc", "httpGet", "sleep", "tcpSocket"})
_ONE_OF = {
    "env": frozenset({"value", "valueFrom"}),
    "valueFrom": frozenset({"configMapKeyRef", "fieldRef", "fileKeyRef", "resourceFieldRef", "secretKeyRef"}),
    "startupProbe": _HANDLERS,
    "readinessProbe": _HANDLERS,
    "livenessProbe": _HANDLERS,
    "preStop": _HANDLERS,
    "postStart": _HANDLERS,
}
# Their `type` decides which of their other fields may stand: they are replaced, never mixed.
_WHOLE = frozenset({"appArmorProfile", "seccompProfile"})


def merge_container(base: Object, overlay: Object, repeatable: frozenset[str] = frozenset()) -> Object:
    """The runtime's container with the user's fields over it; neither is changed.

    `repeatable`: names of flags, with `_`, of which the runtime's stay beside the user's.
    """
    own = {key: value for key, value in overlay.items() if key not in ("args", "resources")}
    merged = _merge_object(base, own, CONTAINER_KEYS)
    if overlay.get("args") is not None or base.get("args") is not None:
        merged["args"] = merge_args(base.get("args") or [], overlay.get("args") or [], repeatable)
    if overlay.get("resources") is not None or base.get("resources") is not None:
        merged["resources"] = merge_resources(base.get("resources") or {}, overlay.get("resources") or {})
    return merged


def merge_containers(
    base: Sequence[Object], overlay: Sequence[Object], repeatable: frozenset[str] = frozenset()
) -> list[Object]:
    """Containers beside the serving one, by name: the runtime's stay first, each with the user's over it."""
    theirs = {each.get("name"): each for each in overlay}
    merged = [merge_container(each, theirs.get(each.get("name"), {}), repeatable) for each in base]
    taken = {each.get("name") for each in base}
    return merged + [dict(each) for each in overlay if each.get("name") not in taken]


def merge_pod(base: Object, overlay: Object) -> Object:
    """The runtime's PodSpec fields (without containers) with the user's over them."""
    merged = _merge_object(base, overlay, POD_KEYS)
    below, above = base.get("initContainers"), overlay.get("initContainers")
    if below and above:
        merged["initContainers"] = merge_containers(below, above)
    if base.get("resources") and overlay.get("resources"):
        merged["resources"] = merge_resources(base["resources"], overlay["resources"])
    if "volumes" in merged:
        merged["volumes"] = _volumes(base.get("volumes") or [], overlay.get("volumes") or [])
    return merged


def merge_resources(base: Object, overlay: Object) -> Object:
    """Resources per key, with what would contradict the user's own numbers brought into line.

    A runtime's limit under the user's request is raised to it; a runtime's request over the user's limit is
    lowered to it. Extended resources (devices) have one number: the user's request is the limit as well.
    """
    merged = _merge_object(base, overlay, {})
    asked, allowed = dict(merged.get("requests") or {}), dict(merged.get("limits") or {})
    own_asked, own_allowed = overlay.get("requests") or {}, overlay.get("limits") or {}
    for name, value in own_asked.items():
        if name in own_allowed:
            continue
        if (name in allowed and _greater(value, allowed[name])) or is_extended(name):
            allowed[name] = value
    for name, value in own_allowed.items():
        if name in own_asked or name not in asked:
            continue
        if _greater(asked[name], value) or is_extended(name):
            asked[name] = value
    return merged | ({"requests": asked} if asked else {}) | ({"limits": allowed} if allowed else {})


def is_extended(resource: str) -> bool:
    """Whether the resource is a device of a vendor: `nvidia.com/gpu`. Such are never overcommitted."""
    domain, slash, _ = resource.partition("/")
    return bool(slash) and domain != "kubernetes.io" and not domain.endswith(".kubernetes.io")


def _greater(left: Any, right: Any) -> bool:
    try:
        return quantities.parse(left) > quantities.parse(right)
    except ValueError:
        return False  # reported where the merged container is checked


def _merge_object(
    base: Mapping[str, Any], overlay: Mapping[str, Any], keys: Mapping[str, str], field: str = ""
) -> Object:
    merged = dict(base)
    group = _ONE_OF.get(field, frozenset())
    if any(overlay.get(name) is not None for name in group):
        merged = {name: value for name, value in merged.items() if name not in group or name in overlay}
    for name, value in overlay.items():
        below = base.get(name)
        if value is None:
            merged.pop(name, None)
        elif name in keys and isinstance(below, list) and isinstance(value, list):
            merged[name] = _merge_list(below, value, keys[name], name)
        elif isinstance(value, dict) and isinstance(below, Mapping) and name not in _WHOLE:
            merged[name] = _merge_object(below, value, {}, name)
        else:
            merged[name] = value
    return merged


def _merge_list(base: list[Any], overlay: list[Any], key: str, field: str) -> list[Any]:
    below = {_identity(entry, key, field): entry for entry in base}
    mine = [_merge_object(below.get(_identity(entry, key, field), {}), entry, {}, field) for entry in overlay]
    taken = {_identity(entry, key, field) for entry in overlay}
    if field == "ports":
        # The runtime's port of a name that the user gives to another number would have no name left.
        taken |= {_identity(entry, key, field) for entry in base if _named(entry) in map(_named, overlay)}
    return mine + [entry for entry in base if _identity(entry, key, field) not in taken]


def _identity(entry: Mapping[str, Any], key: str, field: str) -> tuple[Any, ...]:
    value = entry.get(key)
    if field == "ports":
        return (value, entry.get("protocol") or "TCP")
    if field == "topologySpreadConstraints":
        return (value, entry.get("whenUnsatisfiable"))
    if field == "volumeMounts" and isinstance(value, str):
        return (value.rstrip("/"),)
    return (value,)


def _named(port: Mapping[str, Any]) -> object:
    # Ports without a name are told apart by their numbers alone.
    return port.get("name") or port


def _volumes(base: list[Any], overlay: list[Any]) -> list[Any]:
    # A volume has one source: the user's volume of the same name takes the runtime's place, fields and all,
    # unless both have the same source.
    below = {entry.get("name"): entry for entry in base}
    mine = []
    for entry in overlay:
        other = below.get(entry.get("name"), {})
        mine.append(_merge_object(other, entry, {}) if other.keys() == entry.keys() else entry)
    taken = {entry.get("name") for entry in overlay}
    return mine + [entry for entry in base if entry.get("name") not in taken]
