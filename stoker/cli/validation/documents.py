"""YAML texts as documents that know on which line each of their fields stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from stoker.serving.problems import FieldProblem, child, duplicate

_LAST_STEP = re.compile(r"(\.[^.\[\]]+|\[[^\[\]]*\])$")


class Unreadable(Exception):
    """The text is no YAML, or a document is no object. The message begins with file and line."""


@dataclass(frozen=True)
class Document:
    """One object of a file. `number` counts the file's documents from 1."""

    file: str
    number: int
    value: dict[str, Any]
    lines: Mapping[str, int]
    """By path of a field (`spec.predictor.model.args[0]`) the line it is written on, from 1."""
    problems: tuple[FieldProblem, ...] = ()
    """What YAML lets pass and Kubernetes does not: a key written twice."""

    def line(self, field: str) -> int:
        """The line of a field; of the nearest one around it where it is missing."""
        while field and field not in self.lines:
            shorter = _LAST_STEP.sub("", field)
            field = shorter if shorter != field else ""
        return self.lines.get(field, 1)


class _Loader(yaml.SafeLoader):
    """As Kubernetes reads YAML: what looks like a date stays text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_documents(file: str, text: str) -> list[Document]:
    """The objects of a text; those of a List one by one. Raises Unreadable."""
    loader = _Loader(text)
    found: list[Document] = []
    try:
        number = 0
        while loader.check_node():
            number += 1
            node = loader.get_node()
            if node is not None and node.tag != "tag:yaml.org,2002:null":
                found += _documents(file, number, node, loader.construct_document(node))
    except RecursionError:
        raise Unreadable(f"{file}:1: is nested too deeply, or holds itself") from None
    except (yaml.YAMLError, ValueError, TypeError) as fault:
        mark = getattr(fault, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise Unreadable(f"{file}:{line}: {getattr(fault, 'problem', None) or fault}") from None
    finally:
        loader.dispose()
    return found


def _documents(file: str, number: int, node: yaml.Node, value: Any) -> Iterator[Document]:
    line = node.start_mark.line + 1
    if not isinstance(value, dict) or not isinstance(node, yaml.MappingNode):
        raise Unreadable(f"{file}:{line}: must be an object, with apiVersion and kind")
    if value.get("kind") == "List" and isinstance(value.get("items"), list):
        items = next(inside for key, inside in node.value if key.value == "items")
        for inside, item in zip(items.value, value["items"], strict=True):
            yield from _documents(file, number, inside, item)
        return
    lines: dict[str, int] = {"": line}
    problems = tuple(_walk(node, "", lines))
    yield Document(file, number, value, lines, problems)


def _walk(node: yaml.Node, path: str, lines: dict[str, int]) -> Iterator[FieldProblem]:
    """Note the lines of everything below; keys that are there twice."""
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, inside in node.value:
            here = child(path, str(key.value))
            if here in keys:
                yield duplicate(here, key.value, f"it is on line {lines[here]} already")
            keys.add(here)
            lines.setdefault(here, key.start_mark.line + 1)
            yield from _walk(inside, here, lines)
    elif isinstance(node, yaml.SequenceNode):
        for number, inside in enumerate(node.value):
            here = child(path, number)
            lines[here] = inside.start_mark.line + 1
            yield from _walk(inside, here, lines)
