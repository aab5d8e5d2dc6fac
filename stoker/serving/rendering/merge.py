"""The user's container and pod fields over the runtime's, as a strategic merge patch would do it.

Lists with a key (env by name, volumeMounts by mountPath, ...) merge entry by entry, the overlay's entries
first as KServe has them; objects merge field by field; everything else is replaced. Arguments are merged as
flags. `null` in the overlay takes the runtime's field away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoker.serving import quantities
from stoker.serving.api.reading import Object
from stoker.serving.api.shapes import CONTAINER_KEYS, POD_KEYS
from stoker.serving.rendering.arguments import merge_args

# Of these an object may have one: where the overlay brings one, the runtime's other one goes.
_HANDLERS = frozenset({"exec", "grpc", "httpGet", "sleep", "tcpSocket"})
_ONE_OF = {
    "env": frozenset({"value", "valueFrom"}),
    "startupProbe": _HANDLERS,
    "readinessProbe": _HANDLERS,
    "livenessProbe": _HANDLERS,
    "preStop": _HANDLERS,
    "postStart": _HANDLERS,
}


def merge_container(base: Object, overlay: Object) -> Object:
    """The runtime's container with the user's fields over it; neither is changed."""
    own = {key: value for key, value in overlay.items() if key not in ("args", "resources")}
    merged = _merge_object(base, own, CONTAINER_KEYS)
    if overlay.get("args") is not None or base.get("args") is not None:
        merged["args"] = merge_args(base.get("args") or [], overlay.get("args") or [])
    if overlay.get("resources") is not None or base.get("resources") is not None:
        merged["resources"] = merge_resources(base.get("resources") or {}, overlay.get("resources") or {})
    return merged


def merge_pod(base: Object, overlay: Object) -> Object:
    """The runtime's PodSpec fields (without containers) with the user's over them."""
    merged = _merge_object(base, overlay, POD_KEYS)
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
        elif isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[name] = _merge_object(below, value, {}, name)
        else:
            merged[name] = value
    return merged


def _merge_list(base: list[Any], overlay: list[Any], key: str, field: str) -> list[Any]:
    below = {entry.get(key): entry for entry in base}
    mine = [_merge_object(below.get(entry.get(key), {}), entry, {}, field) for entry in overlay]
    taken = {entry.get(key) for entry in overlay}
    return mine + [entry for entry in base if entry.get(key) not in taken]


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
