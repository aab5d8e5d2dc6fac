"""A user's flags against the JSON Schema of those that the runtime's program accepts.

The schema (`python -m runtime args-schema`) describes a command line as an object: property names are flags
with `_`; `x-aliases` are other spellings, `x-backends` where a flag is accepted, `x-instead` flags of other
servers with what to write in their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stoker.serving.api.reading import Object
from stoker.serving.problems import FieldProblem, child, invalid, nearest, not_supported
from stoker.serving.rendering.arguments import Flag, parse_flags, value_of

_TRUTH = frozenset({"true", "false", "1", "0", "yes", "no", "on", "off"})
_AUTO = frozenset({"vllm", "huggingface"})


def check_flags(
    args: Sequence[str], merged: Sequence[str], path: str, schema: Object
) -> Iterator[FieldProblem]:
    """Problems of the user's `args` at `path`; `merged`, the whole command line, names the backend."""
    properties: Mapping[str, Any] = schema.get("properties") or {}
    if not properties:
        return
    aliases = {alias: name for name, each in properties.items() for alias in each.get("x-aliases") or ()}
    flags = parse_flags(args)
    yield from _stray(args, flags, path)
    backend = value_of(merged, "backend") or "auto"
    served = _AUTO if backend == "auto" else frozenset({backend})
    for flag in flags:
        where = child(path, flag.index)
        name = _property(flag, properties, aliases)
        if name is None:
            yield _unknown(flag, where, properties, schema.get("x-instead") or {})
            continue
        backends = properties[name].get("x-backends")
        if backends and served <= _AUTO and not served & set(backends):
            detail = (
                f"is a flag of --backend={' or '.join(sorted(backends))}, and this is --backend={backend}"
            )
            yield invalid(where, flag.written, detail)
            continue
        yield from _check_value(flag, where, properties[name])


def _stray(args: Sequence[str], flags: Sequence[Flag], path: str) -> Iterator[FieldProblem]:
    taken = {index for flag in flags for index in range(flag.index, flag.index + _width(flag))}
    for index, word in enumerate(args):
        if index not in taken:
            meant = f"--{word}" if "=" in word else "--name=value"
            yield invalid(child(path, index), word, f"must be a flag or the value of one: {meant}")


def _width(flag: Flag) -> int:
    return 1 if flag.inline else 1 + len(flag.values)


def _property(flag: Flag, properties: Mapping[str, Any], aliases: Mapping[str, str]) -> str | None:
    """The schema's name for a flag: plain, by an alias, negated, or with the key of an object after a dot."""
    name = aliases.get(flag.written, flag.name)
    if name in properties:
        return name
    stem = name.partition(".")[0]
    if stem != name:
        stem = aliases.get(flag.written.partition(".")[0], stem)
        return stem if "object" in _types(properties.get(stem, {})) else None
    opposite = flag.subject
    return opposite if opposite != name and "boolean" in _types(properties.get(opposite, {})) else None


def _unknown(
    flag: Flag, path: str, properties: Mapping[str, Any], instead: Mapping[str, str]
) -> FieldProblem:
    known = instead.get(flag.name)
    if known is not None:
        return FieldProblem(path, "FieldValueNotSupported", f"Unsupported flag {flag.written}: {known}")
    meant = nearest(flag.name, properties)
    hint = f"; did you mean --{meant}?" if meant else ""
    return FieldProblem(path, "FieldValueNotSupported", f"Unknown flag {flag.written}{hint}")


def _check_value(flag: Flag, path: str, schema: Mapping[str, Any]) -> Iterator[FieldProblem]:
    types = _types(schema)
    if flag.name.partition(".")[0] != flag.name or "object" in types or "array" in types:
        return  # keys of objects and lists: left to the program
    if types == {"boolean"}:
        if flag.values and (len(flag.values) > 1 or flag.values[0].lower() not in _TRUTH) and _known(flag):
            yield invalid(path, _text(flag), "must be true or false, or the flag alone")
    elif len(flag.values) != 1:
        yield invalid(path, _text(flag), "must have one value")
    elif _known(flag):
        yield from _check_one(flag.values[0], path, schema, types)


def _check_one(value: str, path: str, schema: Mapping[str, Any], types: set[str]) -> Iterator[FieldProblem]:
    choices = schema.get("enum")
    if choices is not None and value not in {str(choice) for choice in choices}:
        yield not_supported(path, value, [str(choice) for choice in choices])
        return
    if not types or not types <= {"integer", "number"}:
        return
    try:
        number = int(value) if types == {"integer"} else float(value)
    except ValueError:
        yield invalid(path, value, "must be a whole number" if types == {"integer"} else "must be a number")
        return
    low, high = schema.get("minimum"), schema.get("maximum")
    if (low is not None and number < low) or (high is not None and number > high):
        limits = [f"at least {low}" if low is not None else "", f"at most {high}" if high is not None else ""]
        yield invalid(path, value, f"must be {' and '.join(each for each in limits if each)}")


def _known(flag: Flag) -> bool:
    """Whether the value is written out: `$(VARIABLE)` and placeholders are filled in later."""
    return not any("$(" in value or "{{" in value for value in flag.values)


def _text(flag: Flag) -> str:
    return " ".join(flag.words())


def _types(schema: Mapping[str, Any]) -> set[str]:
    given = schema.get("type", ())
    return {given} if isinstance(given, str) else set(given)
