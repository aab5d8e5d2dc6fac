"""The JSON Schema of vLLM's flags."""

from __future__ import annotations

import argparse
import json
from typing import Any

from runtime.engines.vllm.flags.parser import bounds, parser, reader

_TYPES: dict[Any, str | list[str]] = {
    str: "string",
    int: "integer",
    float: "number",
    json.loads: ["object", "string"],
}
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
        made = {"enum": choices}
    else:
        made = {"type": _value_type(action), **_bounded(action)}
    return made | _described(action)


def _value_type(action: argparse.Action) -> str | list[str]:
    read = reader(action)
    if read in _TYPES:
        return _TYPES[read]
    name = getattr(read, "__name__", "")
    if name.startswith("human_readable"):
        return ["integer", "string"]
    return ["object", "string"] if name in ("parse_dataclass", "union_dict_and_str") else "string"


def _bounded(action: argparse.Action) -> dict[str, Any]:
    kinds = ((type(each).__name__, each) for each in bounds(action))
    return {_WORDS[kind]: getattr(each, kind.lower()) for kind, each in kinds}


def _described(action: argparse.Action) -> dict[str, Any]:
    text = " ".join((action.help or "").replace("%%", "%").split())
    first = text.split(". ", 1)[0].rstrip(".")
    return {"description": first[:200]} if first else {}
