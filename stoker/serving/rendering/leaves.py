"""A pod template as a flat table: a readable path for every value, by the keys that merging goes by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stoker.serving.api.reading import Object
from stoker.serving.api.shapes import CONTAINER_KEYS, POD_KEYS
from stoker.serving.problems import child
from stoker.serving.rendering.arguments import split

_KEYS = {**CONTAINER_KEYS, **POD_KEYS, "containers": "name"}


def leaves(template: Object) -> dict[str, Any]:
    """Every value of a template: `spec.containers[kserve-container].env[HOME].value`, `...args[--model_id]`.

    Lists without a key are values as a whole. Of flags a value is the list of their words.
    """
    return dict(_walk(template, "", ""))


def _walk(tree: Any, path: str, field: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict) and tree:
        for name, value in tree.items():
            yield from _walk(value, child(path, name), name)
    elif field == "args" and isinstance(tree, list):
        yield from _flags(tree, path)
    elif isinstance(tree, list) and field in _KEYS and all(isinstance(each, dict) for each in tree):
        for entry in tree:
            inner = {name: value for name, value in entry.items() if name != _KEYS[field]}
            yield from _walk(inner, f"{path}[{_key(entry, field)}]", "")
    else:
        yield path, tree


def _key(entry: Mapping[str, Any], field: str) -> str:
    """What tells an entry apart from the others of its list."""
    more = {
        "ports": entry.get("protocol", "TCP"),
        "topologySpreadConstraints": entry.get("whenUnsatisfiable"),
    }
    second = more.get(field)
    key = entry.get(_KEYS[field])
    return f"{key}" if second in (None, "TCP") else f"{key} {second}"


def _flags(args: list[Any], path: str) -> Iterator[tuple[str, Any]]:
    parsed = split([str(each) for each in args])
    for kind, others in (("words", parsed.positional), ("after --", parsed.rest)):
        if others:
            yield f"{path}[{kind}]", list(others)
    found: dict[str, list[str]] = {}
    for flag in parsed.flags:
        found.setdefault(f"--{flag.subject}".replace("---", "-"), []).extend(flag.words())
    for name, words in found.items():
        yield f"{path}[{name}]", words
