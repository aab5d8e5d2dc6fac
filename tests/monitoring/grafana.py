"""A dashboard's JSON, judged by Grafana's own model of it.

Grafana's schema of dashboards is published as code generated from it: the classes of grafana-foundation-sdk,
pinned for Grafana 11.6. (As JSON Schema it stands in the SDK's repository alone: no package of a registry
holds it, and the SDK's Go module, whose readers are strict, is not to be had from the module proxy.) The
Python readers take anything, so three things are judged here: a key that no class knows is lost on the way
through them; a value's type is not that of its field; a number or word is not one of its enum's.
"""

from __future__ import annotations

import enum
import json
import types
import typing
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard

register_default_plugins()


def problems(board: dict[str, Any]) -> list[str]:
    """Everything that Grafana's schema does not know or want; paths in words."""
    return list(_read(dashboard.Dashboard, board, "dashboard"))


def _lost(given: Any, back: Any, where: str) -> Iterator[str]:
    """What does not come back as it was given."""
    if isinstance(given, dict) and isinstance(back, dict):
        for key, value in given.items():  # what is left out comes back as its default
            if key in back:
                yield from _lost(value, back[key], f"{where}.{key}")
            else:
                yield f"{where}.{key}: unknown"
    elif isinstance(given, list) and isinstance(back, list) and len(given) == len(back):
        for number, (one, other) in enumerate(zip(given, back, strict=True)):
            yield from _lost(one, other, f"{where}[{number}]")
    elif given != back:
        yield f"{where}: {given!r} is read as {back!r}"


def _mistyped(value: Any, wanted: Any, where: str) -> Iterator[str]:
    """Values that are not of their field's type."""
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted in (Any, object):
        if hasattr(value, "to_json"):
            yield from _fields(value, where)
    elif origin in (typing.Union, types.UnionType):
        rest = [part for part in parts if part is not type(None)]
        if value is not None or len(rest) == len(parts):
            yield from min((list(_mistyped(value, part, where)) for part in rest), key=len)
    elif origin in (list, dict):
        yield from _gathered(value, origin, parts[-1], where)
    elif origin is typing.Literal:
        if value not in parts:
            yield f"{where}: {value!r} is none of {parts}"
    elif issubclass(wanted, enum.Enum):
        if value not in list(wanted) and value not in [each.value for each in wanted]:
            yield f"{where}: {value!r} is none of {[each.value for each in wanted]}"
    elif isinstance(value, dict) and hasattr(wanted, "from_json"):  # the readers leave some as they are
        yield from _read(wanted, value, where)
    else:
        yield from _plain(value, wanted, where)


def _read(wanted: Any, given: dict[str, Any], where: str) -> Iterator[str]:
    model = wanted.from_json(given)
    yield from _lost(given, json.loads(json.dumps(model, cls=JSONEncoder)), where)
    yield from _fields(model, where)


def _gathered(value: Any, kind: Any, wanted: Any, where: str) -> Iterator[str]:
    if not isinstance(value, kind):
        yield f"{where}: {value!r} is no {kind.__name__}"
        return
    for key, each in value.items() if kind is dict else enumerate(value):
        yield from _mistyped(each, wanted, f"{where}.{key}")


def _plain(value: Any, wanted: Any, where: str) -> Iterator[str]:
    whole = wanted is float and isinstance(value, int)
    if not (isinstance(value, wanted) or whole) or (isinstance(value, bool) and wanted is not bool):
        yield f"{where}: {value!r} is no {wanted.__name__}"
    elif hasattr(value, "to_json"):
        yield from _fields(value, where)


def _fields(value: Any, where: str) -> Iterator[str]:
    for cls in reversed(type(value).__mro__):
        if cls.__module__.startswith("grafana_foundation_sdk.models"):
            for name, hint in typing.get_type_hints(cls).items():
                yield from _mistyped(getattr(value, name), hint, f"{where}.{name}")
