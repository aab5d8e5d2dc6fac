"""Kubernetes' own schema of pods, pod_schema.json, read once into nodes that point at each other."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

_INT32, _INT64 = 2**31, 2**63


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
    # Whole numbers are below it and not below its negative.
    limit: int = 0
    is_object: bool = False


def definition(name: str) -> Node:
    """The schema of `PodSpec`, `Container`, `Volume`, ..."""
    return _Reader.read()[name]


_PLAIN = {frozenset({"string"}): str, frozenset({"boolean"}): bool}


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
        if "integer" in node.types and node.format != "quantity" and not node.allowed:
            node.limit = _INT32 if node.format == "int32" else _INT64
        node.is_object = "object" in node.types
        return node
