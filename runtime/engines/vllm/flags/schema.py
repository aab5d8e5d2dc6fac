"""The JSON Schema of vLLM's flags."""

from __future__ import annotations

import argparse
import json
from typing import Any

from runtime.engines.vllm.flags.parser import bounds, parser, reader

_TYPES: dict[Any, str] = {str: "string", int: "integer", float: "number"}
# What vLLM reads as a size: "k" are thousands, with decimals too; "K" are 1024s.
_SIZE = r"^\s*(\+?[0-9]+(_[0-9]+)*|[0-9]+(\.[0-9]+)?[kmgt]|[0-9]+[KMGT])\s*$"
_WORDS = {"Ge": "minimum", "Gt": "exclusiveMinimum", "Le": "maximum", "Lt": "exclusiveMaximum"}


def properties() -> dict[str, dict[str, Any]]:
    """The JSON Schema of every flag of vLLM's engine, by name with `_`."""
    found: dict[str, dict[str, Any]] = {}
    for action in parser()._actions:
        long = [each for each in action.option_strings if each.startswith("--")]
        name = long[0][2:].replace("-", "_")
        aliases = [
            each[2:].replace("-", "_") if each.startswith("--") else each
            for each in action.option_strings
            if each != long[0] and each[2:].replace("-", "_") != f"no_{name}"
        ]
        found[name] = _schema(action) | ({"x-aliases": aliases} if aliases else {})
    return dict(sorted(found.items()))


def _schema(action: argparse.Action) -> dict[str, Any]:
    made: dict[str, Any]
    if action.nargs == 0:
        made = {"type": "boolean"}
    elif action.nargs in ("+", "*"):
        made = {"type": "array", "items": {"type": "string"}}
    elif choices := [each for each in action.choices or () if each is not None]:
        made = {"enum": [*choices, None] if None in (action.choices or ()) and _optional(action) else choices}
    else:
        made = {**_value(action), **_bounded(action)}
    return made | _described(action)


def _value(action: argparse.Action) -> dict[str, Any]:
    """What one value may be. Null, here as among choices: "None" and the empty text leave it unset."""
    read = reader(action)
    made = _written(read)
    types = made["type"] if isinstance(made["type"], list) else [made["type"]]
    return made | {"type": [*types, "null"]} if _optional(action) else made


def _optional(action: argparse.Action) -> bool:
    return getattr(action.type, "__name__", "") == "_optional_type"


def _written(read: Any) -> dict[str, Any]:
    name = getattr(read, "__name__", "")
    if read is json.loads:
        return {"type": ["object", "string"], "contentMediaType": "application/json"}
    if name == "parse_dataclass":
        return {"type": "object"}
    if name == "union_dict_and_str":  # what begins with { and ends with } is JSON, all else a text
        return {"type": ["object", "string"]}
    if name.startswith("human_readable"):
        pattern = {"pattern": _SIZE} if name == "human_readable_int" else {}
        return {"type": ["integer", "string"], **pattern}
    return {"type": _TYPES.get(read, "string")}


def _bounded(action: argparse.Action) -> dict[str, Any]:
    kinds = ((type(each).__name__, each) for each in bounds(action))
    return {_WORDS[kind]: getattr(each, kind.lower()) for kind, each in kinds}


def _described(action: argparse.Action) -> dict[str, Any]:
    text = " ".join((action.help or "").replace("%%", "%").split())
    first = text.split(". ", 1)[0].rstrip(".")
    return {"description": first[:200]} if first else {}
