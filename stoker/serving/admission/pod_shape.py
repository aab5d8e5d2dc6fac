"""Pod-shaped parts against Kubernetes' own schema, pod_schema.json: as strict as `kubectl --validate=strict`.

The CRDs keep these parts as they are, so a mistyped field would be found only when the Deployment is applied,
or never. Messages name the nearest field; strings with placeholders are judged when they are filled in.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, field
from importlib import resources
from typing import Any

from stoker.serving import quantities
from stoker.serving.admission import syntax
from stoker.serving.admission.places import Place, identity
from stoker.serving.problems import FieldProblem, duplicate, invalid, nearest, not_supported, required

# Judges one complete object of a definition; what needs the objects around it is asked of those.
Rule = Callable[[Mapping[str, Any], Place], Iterator[FieldProblem]]
_INT32, _INT64 = 2**31, 2**63
_WORDS = {
    "string": "a string; write numbers and booleans in quotes",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "integer": "a whole number",
    "number": "a number",
}


@dataclass(frozen=True)
class Mistyped(FieldProblem):
    """A value of another JSON type than its field has, with which nothing can be done."""


@dataclass
class Node:
    """One schema, with references followed."""

    name: str = ""  # of the definition, "Probe"
    types: frozenset[str] = frozenset()
    format: str = ""
    allowed: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    fields: dict[str, Node] | None = None
    values: Node | None = None  # of a mapping
    items: Node | None = None
    keys: tuple[str, ...] = ()
    # The type of which every value is right, where there is one.
    plain: type | None = None


def definition(name: str) -> Node:
    """The schema of `PodSpec`, `Container`, `Volume`, ..."""
    return _Reader.read()[name]


def check(
    value: Any,
    node: Node,
    place: Place,
    rules: Mapping[str, Rule] | None = None,
) -> Iterator[FieldProblem]:
    """Problems of a value. `rules`, by definition: only for complete objects, as are required fields;

    without them the value is a part that is merged over another.
    """
    if value is None or (isinstance(value, str) and "string" in node.types and syntax.filled_in_later(value)):
        return
    kind = _kind(value)
    if not node.types & kind:
        wanted = " or ".join(_WORDS[each] for each in sorted(node.types))
        yield Mistyped(*astuple(invalid(place.path, value, f"must be {wanted}")))
    elif isinstance(value, dict):
        yield from _object(value, node, place, rules)
    elif isinstance(value, list):
        yield from _list(value, node, place, rules)
    else:
        yield from _scalar(value, node, place)


def _object(
    value: dict[str, Any], node: Node, place: Place, rules: Mapping[str, Rule] | None
) -> Iterator[FieldProblem]:
    if node.values is not None:
        for name, each in value.items():
            yield from check(each, node.values, place.field(str(name)), rules)
        return
    if node.fields is None:
        return
    broken = False
    for name, each in value.items():
        inner = node.fields.get(name)
        if inner is None:
            meant = nearest(str(name), node.fields)
            hint = f'; did you mean "{meant}"?' if meant else ""
            path = place.field(str(name)).path
            yield FieldProblem(path, "FieldValueNotSupported", f"Unknown field{hint}")
            continue
        if type(each) is inner.plain:
            continue  # most of all values: nothing more can be wrong with them
        for problem in check(each, inner, place.field(name), rules):
            broken = broken or isinstance(problem, Mistyped)
            yield problem
    if rules is None:
        return
    for name in node.required:
        if value.get(name) is None:
            yield required(place.field(name).path, _needed(node, name))
            broken = True
    rule = rules.get(node.name)
    if rule is not None and not broken:  # rules rely on the types of what they read
        yield from rule(value, place)


def _needed(node: Node, name: str) -> str:
    port = name == "port" and node.name.endswith("Action")
    return "the number or the name of the container's port to ask" if port else f"{node.name} needs it"


def _list(
    value: list[Any], node: Node, place: Place, rules: Mapping[str, Rule] | None
) -> Iterator[FieldProblem]:
    if node.items is None:
        return
    seen: set[tuple[str, ...]] = set()
    for number, each in enumerate(value):
        if type(each) is node.items.plain:
            continue
        at = place.entry(number, each, node.keys)
        if node.keys and isinstance(each, dict):
            found = identity(each, node.keys)
            if found in seen:
                # The second one of two has no place of its own among equal keys.
                path = Place(place.path, place.own).entry(number, each).field(node.keys[0]).path
                yield duplicate(path, each.get(node.keys[0]))
            seen.add(found)
        if each is None:
            yield invalid(at.path, each, f"must be {' or '.join(sorted(node.items.types))}")
        yield from check(each, node.items, at, rules)


def _scalar(value: Any, node: Node, place: Place) -> Iterator[FieldProblem]:
    if node.allowed and value not in node.allowed and value != "":
        yield not_supported(place.path, value, node.allowed)
    elif node.format == "quantity":
        try:
            quantities.parse(value)
        except ValueError as error:
            yield Mistyped(*astuple(invalid(place.path, value, str(error))))
    elif "integer" in node.types and isinstance(value, int):
        limit = _INT32 if node.format == "int32" else _INT64
        if not -limit <= value < limit:
            yield invalid(place.path, value, f"must be a number of {node.format or 'int64'}")


def _kind(value: Any) -> frozenset[str]:
    if isinstance(value, bool):
        return _BOOLEAN
    if isinstance(value, int):
        return _INTEGER
    return _KINDS.get(type(value), _NUMBER)


_BOOLEAN, _INTEGER = frozenset({"boolean"}), frozenset({"integer", "number"})
_NUMBER = frozenset({"number"})
_KINDS: Mapping[type, frozenset[str]] = {
    str: frozenset({"string"}),
    dict: frozenset({"object"}),
    list: frozenset({"array"}),
}


_PLAIN = {frozenset({"string"}): str, _BOOLEAN: bool}


@dataclass
class _Reader:
    document: Mapping[str, Any]
    made: dict[str, Node] = field(default_factory=dict)

    @staticmethod
    @functools.cache
    def read() -> Mapping[str, Node]:
        text = resources.files(__package__).joinpath("pod_schema.json").read_text(encoding="utf-8")
        reader = _Reader(json.loads(text)["$defs"])
        return {name: reader.named(name) for name in reader.document}

    def named(self, name: str) -> Node:
        if name not in self.made:
            self.made[name] = Node(name)  # first, since some definitions hold themselves
            self.fill(self.made[name], self.document[name])
        return self.made[name]

    def node(self, schema: Mapping[str, Any]) -> Node:
        reference = schema.get("$ref")
        if reference:
            return self.named(reference.rpartition("/")[2])
        return self.fill(Node(), schema)

    def fill(self, node: Node, schema: Mapping[str, Any]) -> Node:
        given = schema.get("type", ())
        node.types = frozenset([given] if isinstance(given, str) else given)
        node.format = schema.get("format", "")
        node.allowed = tuple(schema.get("enum", ()))
        node.required = tuple(schema.get("required", ()))
        node.keys = tuple(schema.get("x-list-map-keys", ()))
        if "properties" in schema:
            node.fields = {name: self.node(each) for name, each in schema["properties"].items()}
        elif "additionalProperties" in schema:
            node.values = self.node(schema["additionalProperties"])
        if "items" in schema:
            node.items = self.node(schema["items"])
        if not node.allowed and not node.format:
            node.plain = _PLAIN.get(node.types)
        return node
