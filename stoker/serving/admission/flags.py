"""A user's flags against the JSON Schema of those that the runtime's program accepts.

The schema (`python -m runtime args-schema`) describes a command line as an object: property names are flags
with `_`; `x-aliases` are other spellings, `x-backends` where a flag is accepted, `x-instead` flags of other
servers with what to write in their place.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from stoker.serving.api.reading import Object
from stoker.serving.problems import (
    MOST_HINTS,
    FieldProblem,
    child,
    duplicate,
    invalid,
    nearest,
    not_supported,
)
from stoker.serving.rendering.arguments import Flag, parse_flags, value_of

_SIZE = re.compile(r"-1|\d+(\.\d+)?[A-Za-z]{0,3}|auto")
_NOTHING = re.compile(r"0+(\.0+)?[A-Za-z]{0,3}")  # as a size
# The schema cannot say it: -1 and "auto" leave the length to the model.
_BOUNDS: Mapping[str, Mapping[str, Any]] = {"max_model_len": {"minimum": 1}}
_TRUTH = frozenset({"true", "false", "1", "0", "yes", "no", "on", "off"})
_AUTO = frozenset({"vllm", "huggingface"})


def check_flags(
    args: Sequence[str],
    merged: Sequence[str],
    path: str,
    schema: Object,
    repeatable: frozenset[str] = frozenset(),
) -> Iterator[FieldProblem]:
    """Problems of the user's `args` at `path`; `merged`, the whole command line, names the backend.

    `repeatable`: flags, with `_`, that may stand there several times.
    """
    properties: Mapping[str, Any] = schema.get("properties") or {}
    if not properties:
        return
    aliases = _aliases(schema)
    flags = parse_flags(args)
    yield from _stray(args, flags, path)
    yield from _repeated(flags, path, aliases, repeatable)
    backend = value_of(merged, "backend") or "auto"
    served = _AUTO if backend == "auto" else frozenset({backend})
    unknown = 0
    for flag in flags:
        where = child(path, flag.index)
        name = _property(flag, properties, aliases)
        if name is None:
            unknown += 1
            yield _unknown(flag, where, properties, schema.get("x-instead") or {}, hint=unknown <= MOST_HINTS)
            continue
        backends = properties[name].get("x-backends")
        if backends and served <= _AUTO and not served & set(backends):
            detail = (
                f"is a flag of --backend={' or '.join(sorted(backends))}, and this is --backend={backend}"
            )
            yield invalid(where, flag.written, detail)
            continue
        bounds = _BOUNDS.get(name)
        yield from _check_value(flag, where, {**properties[name], **bounds} if bounds else properties[name])


def canonical(flag: Flag, schema: Object) -> str:
    """The schema's name for what the flag sets: by an alias, and without `no_`."""
    return _aliases(schema).get(flag.written, flag.subject)


def _aliases(schema: Object) -> Mapping[str, str]:
    """Other spellings of a schema's flags. Kept, since schemas are read once and asked on every review."""
    known = _KEPT.get(id(schema))
    if known is not None and known[0] is schema:
        return known[1]
    properties = schema.get("properties") or {}
    made = {alias: name for name, each in properties.items() for alias in each.get("x-aliases") or ()}
    if len(_KEPT) >= _MOST_KEPT:
        _KEPT.clear()
    _KEPT[id(schema)] = (schema, made)
    return made


# By identity, with the schema itself, so that its identity is not given to another one.
_KEPT: dict[int, tuple[Object, Mapping[str, str]]] = {}
_MOST_KEPT = 64


def _repeated(
    flags: Sequence[Flag], path: str, aliases: Mapping[str, str], repeatable: frozenset[str]
) -> Iterator[FieldProblem]:
    first: dict[str, Flag] = {}
    for flag in flags:
        name = aliases.get(flag.written, flag.subject)
        before = first.setdefault(name, flag)
        if before is not flag and name not in repeatable:
            detail = f"{before.written} in args[{before.index}] sets the same, and only the last one counts"
            yield duplicate(child(path, flag.index), flag.written, detail)


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
    flag: Flag, path: str, properties: Mapping[str, Any], instead: Mapping[str, str], *, hint: bool
) -> FieldProblem:
    known = instead.get(flag.name)
    if known is not None:
        return FieldProblem(path, "FieldValueNotSupported", f"Unsupported flag {flag.written}: {known}")
    word, space, rest = flag.written.partition(" ")
    if space:
        detail = (
            f"Unknown flag {flag.written}: a flag and its value are two entries, or {word}={rest.strip()}"
        )
        return FieldProblem(path, "FieldValueNotSupported", detail)
    begun = flag.name
    whole = [name for name in properties if name.startswith(begun)] if len(begun) > 1 else []
    if whole and flag.written.startswith("--"):
        written = " or ".join(f"--{name}" for name in sorted(whole)[:3])
        detail = f"Unknown flag {flag.written}: flags are not abbreviated; write {written}"
        return FieldProblem(path, "FieldValueNotSupported", detail)
    meant = nearest(flag.name, properties) if hint else None
    end = f"; did you mean --{meant}?" if meant else ""
    return FieldProblem(path, "FieldValueNotSupported", f"Unknown flag {flag.written}{end}")


def _check_value(flag: Flag, path: str, schema: Mapping[str, Any]) -> Iterator[FieldProblem]:
    types = _types(schema)
    if flag.name.partition(".")[0] != flag.name:
        return  # keys of objects: left to the program
    if "object" in types or "array" in types:
        yield from _check_many(flag, path, types)
    elif types == {"boolean"}:
        if flag.values and (len(flag.values) > 1 or flag.values[0].lower() not in _TRUTH) and _known(flag):
            yield invalid(path, _text(flag), "must be true or false, or the flag alone")
    elif len(flag.values) != 1:
        yield invalid(path, _text(flag), "must have one value")
    elif _known(flag):
        yield from _check_one(flag.values[0], path, schema, types)


def _check_many(flag: Flag, path: str, types: set[str]) -> Iterator[FieldProblem]:
    """Lists need an entry; objects are JSON where they look like it. The rest is left to the program."""
    if not flag.values:
        yield invalid(path, flag.written, "must have a value")
    elif "object" in types and _known(flag) and flag.values[0].lstrip().startswith("{"):
        try:
            json.loads(flag.values[0])
        except ValueError as error:
            yield invalid(path, _text(flag), f"must be JSON: {error}")


def _check_one(value: str, path: str, schema: Mapping[str, Any], types: set[str]) -> Iterator[FieldProblem]:
    choices = schema.get("enum")
    if choices is not None and value not in {str(choice) for choice in choices}:
        yield not_supported(path, value, [str(choice) for choice in choices])
        return
    if types == {"integer", "string"} and not _SIZE.fullmatch(value):
        yield invalid(path, value, 'must be a whole number, with a suffix where it is large: "16k"')
    elif types == {"integer", "string"} and schema.get("minimum") and _NOTHING.fullmatch(value):
        yield invalid(path, value, "must be greater than 0")
    if not types or not types <= {"integer", "number"}:
        return
    try:
        number = int(value) if types == {"integer"} else float(value)
        if number != number:  # noqa: PLR0124  # only NaN differs from itself
            raise ValueError
    except ValueError:
        yield invalid(path, value, "must be a whole number" if types == {"integer"} else "must be a number")
        return
    limits = [(words, schema[name], within) for name, (words, within) in _LIMITS.items() if name in schema]
    if not all(within(number, limit) for _, limit, within in limits):
        yield invalid(
            path, value, f"must be {' and '.join(f'{words} {limit}' for words, limit, _ in limits)}"
        )


# JSON Schema's words for the ends of a range.
_LIMITS: Mapping[str, tuple[str, Callable[[float, float], bool]]] = {
    "minimum": ("at least", operator.ge),
    "exclusiveMinimum": ("greater than", operator.gt),
    "maximum": ("at most", operator.le),
    "exclusiveMaximum": ("less than", operator.lt),
}


def _known(flag: Flag) -> bool:
    """Whether the value is written out: `$(VARIABLE)` and placeholders are filled in later."""
    return not any("$(" in value or "{{" in value for value in flag.values)


def _text(flag: Flag) -> str:
    return " ".join(flag.words())


def _types(schema: Mapping[str, Any]) -> set[str]:
    given = schema.get("type", ())
    return {given} if isinstance(given, str) else set(given)
