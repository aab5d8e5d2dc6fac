"""`{{.Name}}` and the like in the strings of a runtime, replaced on the parsed tree.

KServe runs the whole container through Go's templates as JSON text, so a chat template in an argument breaks
the service and a quote in a label writes into neighbouring fields. Here a closed set of placeholders is found
by a pattern, everything else with braces stays as it is, and a value that was put in is never read again, by
nobody: where the kubelet expands `$(VARIABLE)`, a value's `$` is written so that it stays one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stoker.serving.problems import FieldProblem, child, required
from stoker.serving.rendering.expansion import is_expanded, join_literally

# {{.Name}} {{ .Namespace }} {{.Labels.key}} {{.Labels["a-b"]}} {{.Annotations["x.y/z"]}}; a key without
# brackets is what Go's templates allow, which is why one with '-', '.' or '/' needs brackets. The last is
# Go's own way to reach such a key.
_PLACEHOLDER = re.compile(
    r"""\{\{\s*(?:
        \.(?P<own>Name|Namespace)
      | \.(?P<map>Labels|Annotations)(?:\.(?P<plain>[A-Za-z_][A-Za-z0-9_]*)|\[\s*"(?P<quoted>[^"{}\\]+)"\s*\])
      | index\s+\.(?P<indexed>Labels|Annotations)\s+"(?P<key>[^"{}\\]+)"
    )\s*\}\}""",
    re.VERBOSE,
)
# What looks like a placeholder and is none. Rendering leaves it as it is, since some chat templates are
# written in Go's language ("{{ .System }}"); a runtime that holds it gets a warning.
_SUSPECT = re.compile(r"\{\{-?\s*\.[A-Z][^{}]*\}\}")
_Steps = tuple[str | int, ...]


@dataclass(frozen=True)
class Values:
    """What placeholders stand for."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(frozen=True)
class Reference:
    """One placeholder: `of` Labels or Annotations with its key, else Name or Namespace."""

    of: str
    key: str = ""


def replace(tree: Any, values: Values, path: str, problems: list[FieldProblem]) -> tuple[Any, set[Reference]]:
    """The JSON tree with the placeholders of every string replaced, and which those were.

    Keys of objects are never touched. `path` is where the tree stands in the pod. A missing label or
    annotation is a problem of the
    InferenceService's metadata: that is what to change. Parts without placeholders are not copied.
    """
    made = tree
    used: set[Reference] = set()
    for steps, text in _with_braces(tree):
        used.update(_references(text))
        filled = _fill(text, values, child(path, *steps), problems)
        if filled != text:
            made = _put(made, tree, steps, filled)
    return made, used


def _put(made: Any, tree: Any, steps: _Steps, value: Any) -> Any:
    """`made`, which may be `tree` itself, with a value at `steps`; only what leads there is copied."""
    if not steps:
        return value
    copy = made if made is not tree else tree.copy()
    step = steps[0]
    copy[step] = _put(made[step], tree[step], steps[1:], value)
    return copy


def references(tree: Any) -> set[Reference]:
    """All placeholders in the strings of a JSON tree."""
    return {found for _, text in _with_braces(tree) for found in _references(text)}


def _references(text: str) -> Iterator[Reference]:
    return map(_reference, _PLACEHOLDER.finditer(text))


def suspects(tree: Any, path: str) -> Iterator[tuple[str, str]]:
    """Path and text of what looks like a placeholder and is none."""
    for steps, text in _with_braces(tree):
        for match in _SUSPECT.finditer(text):
            if not _PLACEHOLDER.fullmatch(match.group()):
                yield child(path, *steps), match.group()


def _fill(text: str, values: Values, path: str, problems: list[FieldProblem]) -> str:
    literal = is_expanded(path)
    filled, place = "", 0
    for match in _PLACEHOLDER.finditer(text):
        filled += text[place : match.start()]
        place = match.end()
        value = _value(_reference(match), values)
        if value is None:
            found = _reference(match)
            detail = f"{match.group()} in {path} of the pod stands for it"
            problems.append(required(child("metadata", found.of.lower(), found.key), detail))
        else:
            filled = join_literally(filled, value) if literal else filled + value
    return filled + text[place:]


def _value(found: Reference, values: Values) -> str | None:
    if found.of == "Name":
        return values.name
    if found.of == "Namespace":
        return values.namespace
    return (values.labels if found.of == "Labels" else values.annotations).get(found.key)


def _reference(match: re.Match[str]) -> Reference:
    if match["own"]:
        return Reference(match["own"])
    return Reference(match["map"] or match["indexed"], match["plain"] or match["quoted"] or match["key"])


def _with_braces(tree: Any) -> list[tuple[_Steps, str]]:
    """The strings that may hold a placeholder: few, so that paths are put into words for these alone."""
    if isinstance(tree, str):
        return [((), tree)] if "{{" in tree else []
    found: list[tuple[_Steps, str]] = []
    _collect(tree, (), found)
    return found


def _collect(tree: Any, steps: _Steps, found: list[tuple[_Steps, str]]) -> None:
    entries: Iterable[tuple[Any, Any]] = ()
    if isinstance(tree, dict):
        entries = tree.items()
    elif isinstance(tree, list):
        entries = enumerate(tree)
    for step, value in entries:
        # Most values are short strings, numbers and booleans: they are looked at here, without a call.
        kind = type(value)
        if kind is str:
            if "{{" in value:
                found.append(((*steps, step), value))
        elif kind is dict or kind is list:
            _collect(value, (*steps, step), found)
