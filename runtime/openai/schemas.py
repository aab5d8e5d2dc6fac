"""JSON Schemas from requests: only what is really enforced, and only what cannot be expensive.

The engines' grammars know more words than these. Left out are those that they read and do not enforce (a
promise not kept), and `pattern`, whose cost no size bounds. What a grammar costs grows with the number of
schemas in it and most with bounded lengths: at these bounds it takes up to about 2 s to compile (xgrammar,
a vocabulary of 49,152), where the 32 KiB alone would allow half a minute.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from runtime.openai.fields import encodable

MAX_BYTES = 32 * 1024
_DEPTH = 32
_SCHEMAS = 200  # in one schema, itself included
_LENGTHS = 8  # of them with bounds on their length
_MOST = 1000  # such a bound
_VALUES = 1000  # of one enum
_LENGTH_WORDS = frozenset({"minItems", "maxItems", "minLength", "maxLength"})
_OBJECT_WORDS = frozenset({"properties", "required", "additionalProperties"})
_ARRAY_WORDS = frozenset({"items", "prefixItems", "minItems", "maxItems"})
_STRING_WORDS = frozenset({"minLength", "maxLength"})
_NUMBER_WORDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
_NOTES = frozenset(
    {"title", "description", "default", "examples", "$schema", "$id", "$comment", "deprecated"}
)

Problem = Callable[[str, str], None]
"""Takes a path below the schema ("properties.a") and what is wrong there."""


def grammar_of(schema: Mapping[str, Any]) -> str:
    """The grammar (xgrammar's structural tag) of answers that are JSON of a schema."""
    return structural_tag(json_format(schema))


def json_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a structural tag that is JSON of a schema. Without a bound on white space between its
    parts a small model writes spaces until its tokens are used up.
    """
    return {"type": "json_schema", "json_schema": schema, "max_whitespace_cnt": 1}


def structural_tag(form: Mapping[str, Any]) -> str:
    """A structural tag as text."""
    return json.dumps({"type": "structural_tag", "format": form}, ensure_ascii=False, sort_keys=False)


def check_size(value: Any, problem: Problem, limit: int = MAX_BYTES) -> bool:
    """Whether a schema is small enough to be looked at."""
    size = len(json.dumps(value, ensure_ascii=True))
    if size > limit:
        problem("", f"has {size} bytes; a schema may have {limit}")
    return size <= limit


def check_schema(schema: Any, problem: Problem) -> None:
    """Reports everything in a schema that is not enforced here."""
    _Check(schema, problem).at(schema, "", 0)


class _Check:
    def __init__(self, root: Any, problem: Problem) -> None:
        self._root = root
        self._problem = problem
        self._schemas = 0
        self._lengths = 0

    def at(self, schema: Any, path: str, depth: int) -> None:
        """Checks a schema and those in it."""
        if isinstance(schema, bool) and depth:
            if not schema and not path.endswith(("additionalProperties", "items")):
                self._problem(path, "false allows nothing")
            return
        if not isinstance(schema, dict):
            self._problem(path, "must be a schema: an object")
            return
        self._schemas += 1
        self._lengths += not _LENGTH_WORDS.isdisjoint(schema)
        if depth > _DEPTH:
            self._problem(path, f"is nested deeper than {_DEPTH}")
        elif self._schemas == _SCHEMAS + 1:
            self._problem(path, f"is one of more than {_SCHEMAS} schemas")
        elif self._lengths == _LENGTHS + 1:
            self._problem(path, f"is one of more than {_LENGTHS} schemas with bounds on their length")
        if depth > _DEPTH or self._schemas > _SCHEMAS or self._lengths > _LENGTHS:
            return
        self._together(schema, path)
        for word, value in schema.items():
            here = f"{path}.{word}" if path else word
            if word in _NOTES:
                continue
            check = _CHECKS.get(word)
            if check is None:
                self._problem(here[:200], "is not supported: it could not be enforced")
            else:
                check(self, value, here, depth)

    def _together(self, schema: dict[str, Any], path: str) -> None:
        """Words that the grammars take alone: beside others, or without their type, they are overlooked."""
        words = schema.keys() - _NOTES - {"$defs", "definitions"}
        for alone in ("$ref", "anyOf", "enum", "const"):
            beside = words - ({alone, "type"} if alone in ("enum", "const") else {alone})
            if alone in words and beside:
                self._problem(f"{path}.{min(beside)}".lstrip("."), f"cannot be enforced beside `{alone}`")
                return
        kinds = schema.get("type")
        listing = kinds if isinstance(kinds, list) and kinds else [kinds]
        if "type" in words and not all(isinstance(each, str) for each in listing):
            return  # `type` itself is told of
        given = set(listing)
        for needed, these in (
            ({"object"}, _OBJECT_WORDS),
            ({"array"}, _ARRAY_WORDS),
            ({"string"}, _STRING_WORDS),
            ({"integer", "number"}, _NUMBER_WORDS),
        ):
            if words & these and not given & needed:
                word = min(words & these)
                self._problem(f"{path}.{word}".lstrip("."), f"needs `type`: {' or '.join(sorted(needed))}")
        listed, properties = schema.get("required"), schema.get("properties")
        if isinstance(listed, list):
            known = properties if isinstance(properties, dict) else {}
            missing = [each for each in listed if isinstance(each, str) and each not in known]
            if missing:
                where = f"{path}.required".lstrip(".")
                self._problem(where, f"names what `properties` does not have: {missing[0][:64]}")
        self._of_type(schema, given, path)

    def _of_type(self, schema: dict[str, Any], given: set[Any], path: str) -> None:
        values = schema["enum"] if isinstance(schema.get("enum"), list) else []
        if "const" in schema:
            values = [schema["const"]]
        if given != {None} and any(not _KINDS.get(type(each), set()) & given for each in values):
            self._problem(f"{path}.type".lstrip("."), "is not that of every value")

    def type(self, value: Any, path: str, depth: int) -> None:
        """A name or names of types."""
        types = value if isinstance(value, list) and value else [value]
        if not all(isinstance(each, str) and each in _TYPES for each in types):
            self._problem(path, f"must be of {', '.join(sorted(_TYPES))}")

    def properties(self, value: Any, path: str, depth: int) -> None:
        """Schemas by name."""
        if not isinstance(value, dict):
            self._problem(path, "must be an object of schemas")
            return
        for name, schema in value.items():
            if not encodable(name):
                self._problem(path, "has a name with half of a surrogate pair, which is no text")
            else:
                self.at(schema, f"{path}.{name}"[:200], depth + 1)

    def required(self, value: Any, path: str, depth: int) -> None:
        """Names."""
        if not isinstance(value, list) or not all(
            isinstance(each, str) and encodable(each) for each in value
        ):
            self._problem(path, "must be a list of names")

    def inner(self, value: Any, path: str, depth: int) -> None:
        """One schema."""
        self.at(value, path, depth + 1)

    def several(self, value: Any, path: str, depth: int) -> None:
        """A list of schemas."""
        if not isinstance(value, list) or not value:
            self._problem(path, "must be a list of at least one schema")
            return
        for index, schema in enumerate(value):
            self.at(schema, f"{path}[{index}]", depth + 1)

    def enum(self, value: Any, path: str, depth: int) -> None:
        """A list of plain values."""
        if not isinstance(value, list) or not value:
            self._problem(path, "must be a list of at least one value")
            return
        if len(value) > _VALUES:
            self._problem(path, f"has {len(value)} values; it may have {_VALUES}")
            return
        for each in value:
            self.const(each, path, depth)

    def const(self, value: Any, path: str, depth: int) -> None:
        """A plain value."""
        if isinstance(value, dict | list):
            self._problem(path, "may hold strings, numbers, true, false and null only")
        elif isinstance(value, str) and not encodable(value):
            self._problem(path, "holds half of a surrogate pair, which is no text")

    def reference(self, value: Any, path: str, depth: int) -> None:
        """A pointer into this schema, not in a circle."""
        if not isinstance(value, str) or not value.startswith("#"):
            self._problem(path, 'must point into this schema: "#/$defs/NAME"')
            return
        target: str | None = value
        seen = 0
        while target is not None and seen <= _SCHEMAS:
            found = _resolved(self._root, target)
            if found is None:
                self._problem(path, f"points to nothing: {value[:100]}")
                return
            further = found.get("$ref")
            target, seen = further if isinstance(further, str) else None, seen + 1
        if target is not None:
            self._problem(path, "leads back to itself")

    def count(self, value: Any, path: str, depth: int) -> None:
        """A length."""
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
            self._problem(path, f"must be a whole number from 0 to {_MOST}")

    def bound(self, value: Any, path: str, depth: int) -> None:
        """A number."""
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e15:
            self._problem(path, "must be a number of at most 15 digits")


def _resolved(root: Any, reference: str) -> dict[str, Any] | None:
    for step in reference[1:].split("/")[1:]:
        root = root.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(root, dict) else None
    return root if isinstance(root, dict) else None


_KINDS: dict[type, set[str]] = {
    str: {"string"},
    bool: {"boolean"},
    int: {"integer", "number"},
    float: {"number"},
    type(None): {"null"},
}
_CHECKS: dict[str, Callable[[_Check, Any, str, int], None]] = {
    "type": _Check.type,
    "required": _Check.required,
    "enum": _Check.enum,
    "const": _Check.const,
    "$ref": _Check.reference,
    **dict.fromkeys(("properties", "$defs", "definitions"), _Check.properties),
    **dict.fromkeys(("items", "additionalProperties"), _Check.inner),
    **dict.fromkeys(("prefixItems", "anyOf"), _Check.several),
    **dict.fromkeys(_LENGTH_WORDS, _Check.count),
    **dict.fromkeys(_NUMBER_WORDS, _Check.bound),
}
