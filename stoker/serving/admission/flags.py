"""A user's flags against the JSON Schema of those that the runtime's program accepts.

The schema (`python -m runtime args-schema`) describes a command line as an object: property names are flags
with `_`; `x-aliases` are other spellings, `x-backends` where a flag is accepted, `x-instead` flags of other
servers with what to write in their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stoker.serving.admission.flag_values import check_value, types_of
from stoker.serving.api.reading import Object
from stoker.serving.problems import (
    MOST_HINTS,
    FieldProblem,
    child,
    duplicate,
    invalid,
    nearest,
)
from stoker.serving.rendering.arguments import Flag, parse_flags, value_of

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
        yield from check_value(flag, where, properties[name])


def canonical(flag: Flag, schema: Object) -> str:
    """The schema's name for what the flag sets: by an alias, and without `no_`."""
    return _subject(flag, _aliases(schema))


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
        name = _subject(flag, aliases)
        before = first.setdefault(name, flag)
        if before is not flag and name not in repeatable:
            detail = f"{before.written} in args[{before.index}] sets the same, and only the last one counts"
            yield duplicate(child(path, flag.index), flag.written, detail)


def _stray(args: Sequence[str], flags: Sequence[Flag], path: str) -> Iterator[FieldProblem]:
    taken = {index for flag in flags for index in range(flag.index, flag.index + _width(flag))}
    end = args.index("--") if "--" in args else len(args)
    if end < len(args):
        detail = "nothing after it is read as a flag; leave it out"
        yield invalid(child(path, end), "--", detail)
    for index, word in enumerate(args[:end]):
        if index not in taken:
            meant = f"--{word}" if "=" in word else "--name=value"
            yield invalid(child(path, index), word, f"must be a flag or the value of one: {meant}")


def _width(flag: Flag) -> int:
    return 1 if flag.inline else 1 + len(flag.values)


def _subject(flag: Flag, aliases: Mapping[str, str]) -> str:
    return aliases.get(flag.name) or aliases.get(flag.subject, flag.subject)


def _property(flag: Flag, properties: Mapping[str, Any], aliases: Mapping[str, str]) -> str | None:
    """The schema's name for a flag: plain, by an alias, negated, or with the key of an object after a dot."""
    name = aliases.get(flag.name, flag.name)
    if name in properties:
        return name
    stem, dot, _ = name.partition(".")
    if dot:
        stem = aliases.get(stem, stem)
        return stem if "object" in types_of(properties.get(stem, {})) else None
    opposite = _subject(flag, aliases)
    return opposite if opposite != name and "boolean" in types_of(properties.get(opposite, {})) else None


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
