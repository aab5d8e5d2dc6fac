"""The value of one flag against what its program's schema says of it, and reads as its program does."""

from __future__ import annotations

import functools
import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stoker.serving.problems import FieldProblem, invalid, not_supported
from stoker.serving.rendering.arguments import Flag

# Of a schema that has no pattern for its sizes.
_SIZE = r"-1|auto|[0-9]+(\.[0-9]+)?[kmgtKMGT]?"
_NOTHING = re.compile(r"\s*0+(\.0+)?[kmgtKMGT]?\s*")  # as a size
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})
# vLLM writes these out before it reads a configuration's JSON: {"cpu_bytes_to_use": 80m}.
# Texts are stepped over, to the end where one is left open: that takes no time that grows with its square.
_SUFFIXED = re.compile(r'"(?:[^"\\]|\\.)*"?|\b([0-9]+)(?:\.[0-9]+)?[kKmMgGtT]\b', re.DOTALL)
_BRACED = re.compile(r"\s*\{.*\}\s*", re.DOTALL)


def check_value(flag: Flag, path: str, schema: Mapping[str, Any]) -> Iterator[FieldProblem]:
    """Problems of the value that a flag was given at `path`; `schema`: the property of this flag."""
    if "." in flag.name:
        return  # keys of objects: left to the program
    types = types_of(schema)
    if "boolean" in types:
        yield from _truth(flag, path, schema)
    elif "array" in types:
        if not flag.values:
            yield invalid(path, flag.written, "must have a value")
    elif len(flag.values) != 1:
        yield invalid(path, text_of(flag), "must have one value")
    elif _known(flag) and not (_may_be_unset(schema, types) and flag.values[0] in ("", "None")):
        yield from _one(flag.values[0], path, schema, types - {"null"})


def _may_be_unset(schema: Mapping[str, Any], types: set[str]) -> bool:
    return "null" in types or None in schema.get("enum", ())


def types_of(schema: Mapping[str, Any]) -> set[str]:
    """The types that a property may have."""
    given = schema.get("type", ())
    return {given} if isinstance(given, str) else set(given)


def text_of(flag: Flag) -> str:
    """The flag with its values, as people read it."""
    return " ".join(flag.words())


def _truth(flag: Flag, path: str, schema: Mapping[str, Any]) -> Iterator[FieldProblem]:
    if not _known(flag):
        return
    word = flag.values[0].lower() if flag.values else str(flag.name == flag.subject).lower()
    if len(flag.values) > 1 or word not in _TRUE | _FALSE:
        yield invalid(path, text_of(flag), "must be true or false, or the flag alone")
    elif schema.get("const", word in _TRUE) is not (word in _TRUE):
        yield invalid(path, text_of(flag), _only(schema))


def _one(value: str, path: str, schema: Mapping[str, Any], types: set[str]) -> Iterator[FieldProblem]:
    choices = [str(choice) for choice in schema.get("enum", ()) if choice is not None]
    if choices and value not in choices:
        yield not_supported(path, value, choices)
    elif "const" in schema and value.strip() != str(schema["const"]):
        yield invalid(path, value, _only(schema))
    elif schema.get("minLength") and not value:
        yield invalid(path, value, "must not be empty")
    elif "object" in types:
        yield from _object(value, path, schema, types)
    elif types == {"integer", "string"}:
        yield from _size(value, path, schema)
    elif types and types <= {"integer", "number"}:
        yield from _number(value, path, schema, int if types == {"integer"} else float)


def _only(schema: Mapping[str, Any]) -> str:
    """The one value that is taken, with the reason that the flag's description ends with."""
    word = str(schema["const"]).lower()
    why = str(schema.get("description", "")).partition(f"nly {word}: ")[2].rstrip(".")
    return f"must be {word}" + (f": {why}" if why else "")


def _object(value: str, path: str, schema: Mapping[str, Any], types: set[str]) -> Iterator[FieldProblem]:
    """A configuration's JSON, which must be an object and may have sizes in it; other JSON; or, where the
    program takes any text too, only what is written as an object.
    """
    configuration = "string" not in types
    if not configuration and schema.get("contentMediaType") is None and not _BRACED.fullmatch(value):
        return
    try:
        read = json.loads(_without_suffixes(value) if configuration else value)
    except (ValueError, RecursionError) as error:
        yield invalid(path, value, f"must be JSON: {error}")
        return
    if configuration and not isinstance(read, dict):
        yield invalid(path, value, 'must be a JSON object: {"key": "value"}')


def _without_suffixes(text: str) -> str:
    return _SUFFIXED.sub(lambda found: found[1] or found[0], text)


def _size(value: str, path: str, schema: Mapping[str, Any]) -> Iterator[FieldProblem]:
    fits = _pattern(str(schema.get("pattern", f"^({_SIZE})$"))).search(value) is not None
    nothing = _NOTHING.fullmatch(value) is not None
    if nothing and (schema.get("minimum") or not fits):
        yield invalid(path, value, "must be greater than 0")
    elif not fits:
        detail = 'must be a whole number, with one letter after it where it is large: "16k" or "4G"'
        yield invalid(path, value, detail)


@functools.lru_cache(maxsize=64)
def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error:  # written by another program: then it says nothing
        return re.compile("")


def _number(
    value: str, path: str, schema: Mapping[str, Any], kind: type[int] | type[float]
) -> Iterator[FieldProblem]:
    try:
        number = kind(value)
        if number != number:  # noqa: PLR0124  # only NaN differs from itself
            raise ValueError
    except ValueError:
        yield invalid(path, value, "must be a whole number" if kind is int else "must be a number")
        return
    if "const" in schema:
        return
    limits = [(words, schema[name], within) for name, (words, within) in _LIMITS.items() if name in schema]
    if not all(within(number, limit) for _, limit, within in limits):
        said = " and ".join(f"{words} {limit}" for words, limit, _ in limits)
        yield invalid(path, value, f"must be {said}")


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
