"""Calls that an assistant made earlier in a chat, as chat templates take them."""

from __future__ import annotations

import json
from typing import Any

from runtime.openai.fields import Fields, encodable
from runtime.openai.limits import Limits

_ID = 256
_FUNCTION = {"name", "arguments"}
_FORM = '{"id": ..., "type": "function", "function": {"name": ..., "arguments": ...}}'


def read_calls(fields: Fields, limits: Limits) -> list[dict[str, Any]]:
    """A message's `tool_calls`; their arguments become objects, which is what templates write as JSON."""
    value = fields.take("tool_calls")
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > limits.bounds.max_tools:
        fields.wrong("tool_calls", f"must be a list of at most {limits.bounds.max_tools} calls")
        return []
    calls = [_call(fields, f"tool_calls[{index}]", each, limits) for index, each in enumerate(value)]
    return [call for call in calls if call is not None]


def _call(fields: Fields, path: str, value: Any, limits: Limits) -> dict[str, Any] | None:
    match value:
        case {"id": str(id_), "type": "function", "function": {"name": str(name), "arguments": str(text)}}:
            beside = [*(value.keys() - {"id", "type", "function"}), *(value["function"].keys() - _FUNCTION)]
        case _:
            fields.wrong(path, f"must be of the form {_FORM}")
            return None
    arguments = _arguments(text) if len(text) <= limits.max_characters else None
    if beside:
        fields.wrong(path, f"has a field that does not belong there: {min(beside)[:64]}")
    elif arguments is None:
        fields.wrong(f"{path}.function.arguments", "must be a JSON object as text")
    elif max(len(id_), len(name)) > _ID or not encodable(id_ + name):
        fields.wrong(path, f"has an id or a name of more than {_ID} characters, or that is no text")
    else:
        return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
    return None


def _arguments(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text or "{}")
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
