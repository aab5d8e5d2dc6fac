"""Pod-shaped parts against Kubernetes' own schema: as strict as `kubectl --validate=strict`.

The CRDs keep these parts as they are, so a mistyped field would be found only when the Deployment is applied,
or never. Messages name the nearest field; strings with placeholders are judged when they are filled in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from stoker.serving import quantities
from stoker.serving.admission import syntax
from stoker.serving.admission.places import NOWHERE, Place, identity
from stoker.serving.admission.pod_schema import Node
from stoker.serving.problems import (
    MOST_HINTS,
    FieldProblem,
    duplicate,
    invalid,
    nearest,
    not_supported,
    required,
)

# Judges one complete object of a definition; what needs the objects around it is asked of those.
Rule = Callable[[Mapping[str, Any], Place], Iterator[FieldProblem]]
# By identity the objects and lists of which it is known that they have no problems as this node.
Sound = Mapping[int, Node]
_UNKNOWN: Sound = {}
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


def check(
    value: Any,
    node: Node,
    place: Place,
    rules: Mapping[str, Rule] | None = None,
    sound: Sound = _UNKNOWN,
) -> list[FieldProblem]:
    """Problems of a value. `rules`, by definition: only for complete objects, as are required fields;

    without them the value is a part that is merged over another. `sound`: what need not be looked at again.
    """
    found: list[FieldProblem] = []
    if sound.get(id(value)) is node:
        return found
    _Check(rules, sound, found).value(value, node, NOWHERE)
    if found:  # where something is wrong, it is said where
        found.clear()
        _Check(rules, sound, found).value(value, node, place)
    return found


def sound_parts(value: Any, node: Node, rules: Mapping[str, Rule]) -> Iterator[tuple[int, Node]]:
    """Of a value that stays in memory and is never changed: its objects and lists that have no problems."""
    if not isinstance(value, dict | list):
        return
    if not check(value, node, NOWHERE, rules):
        yield id(value), node
    inner: Iterable[tuple[Any, Node | None]] = [(each, node.items) for each in value]
    if isinstance(value, dict):
        inner = [(each, node.values or (node.fields or {}).get(name)) for name, each in value.items()]
    for each, below in inner:
        if below is not None:
            yield from sound_parts(each, below, rules)


class _Check:
    """One walk. Problems are appended and not yielded: this is most of what a review costs."""

    def __init__(self, rules: Mapping[str, Rule] | None, sound: Sound, found: list[FieldProblem]) -> None:
        self._rules = rules
        self._sound = sound
        self._found = found
        self._hints = 0

    def value(self, value: Any, node: Node, place: Place) -> None:
        if type(value) is dict and node.is_object:
            self._object(value, node, place)
            return
        if value is None:
            return
        if isinstance(value, str) and "string" in node.types and syntax.filled_in_later(value):
            return
        if not node.types & _kind(value):
            wanted = " or ".join(_WORDS[each] for each in sorted(node.types))
            self._found.append(Mistyped(*astuple(invalid(place.path, value, f"must be {wanted}"))))
        elif isinstance(value, list):
            self._list(value, node, place)
        else:
            self._scalar(value, node, place)

    def _object(self, value: dict[str, Any], node: Node, place: Place) -> None:
        if node.values is not None:
            for name, each in value.items():
                self.value(each, node.values, place.field(str(name)))
        if node.fields is None:
            return
        begun = len(self._found)
        for name, each in value.items():
            inner = node.fields.get(name)
            if inner is None:
                self._unknown(str(name), node.fields, place)
                continue
            # Most of all values: nothing more can be wrong with them.
            kind = type(each)
            if kind is inner.plain or (kind is int and -inner.limit <= each < inner.limit):
                continue
            if self._sound.get(id(each)) is not inner:
                self.value(each, inner, place.field(name))
        if self._rules is None:
            return
        broken = len(self._found) > begun and any(
            isinstance(problem, Mistyped) for problem in self._found[begun:]
        )
        for name in node.required:
            if value.get(name) is None:
                self._found.append(required(place.field(name).path, _needed(node, name)))
                broken = True
        rule = self._rules.get(node.name)
        if rule is not None and not broken:  # rules rely on the types of what they read
            self._found.extend(rule(value, place))

    def _unknown(self, name: str, known: Mapping[str, Node], place: Place) -> None:
        self._hints += place is not NOWHERE
        meant = nearest(name, known) if 0 < self._hints <= MOST_HINTS else None
        hint = f'; did you mean "{meant}"?' if meant else ""
        path = place.field(name).path
        self._found.append(FieldProblem(path, "FieldValueNotSupported", f"Unknown field{hint}"))

    def _list(self, value: list[Any], node: Node, place: Place) -> None:
        if node.items is None:
            return
        seen: set[tuple[str, ...]] = set()
        for number, each in enumerate(value):
            if type(each) is node.items.plain:
                continue
            if node.keys and isinstance(each, dict):
                called = identity(each, node.keys)
                if called in seen:
                    # The second one of two has no place of its own among equal keys.
                    path = Place(place.path, place.own).entry(number, each).field(node.keys[0]).path
                    self._found.append(duplicate(path, each.get(node.keys[0])))
                seen.add(called)
            if each is None:
                path = place.entry(number, each, node.keys).path
                problem = invalid(path, each, f"must be {' or '.join(sorted(node.items.types))}")
                self._found.append(Mistyped(*astuple(problem)))
            elif self._sound.get(id(each)) is not node.items:
                self.value(each, node.items, place.entry(number, each, node.keys))

    def _scalar(self, value: Any, node: Node, place: Place) -> None:
        if node.allowed and value not in node.allowed and value != "":
            self._found.append(not_supported(place.path, value, node.allowed))
        elif node.format == "quantity":
            try:
                quantities.parse(value)
            except ValueError as error:
                self._found.append(Mistyped(*astuple(invalid(place.path, value, str(error)))))
        elif node.limit and isinstance(value, int) and not -node.limit <= value < node.limit:
            problem = invalid(place.path, value, f"must be a number of {node.format or 'int64'}")
            self._found.append(problem)


def _needed(node: Node, name: str) -> str:
    port = name == "port" and node.name.endswith("Action")
    return "the number or the name of the container's port to ask" if port else f"{node.name} needs it"


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
