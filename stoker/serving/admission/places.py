"""Where in an object somebody wrote what now stands in a merged pod.

A problem of the pod must name the field that its author can change. So the checks of a pod walk through it
with a `Place`: the path of the author's field, and what the author wrote there, found by the keys that
merging goes by. What the author did not write came from the runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stoker.serving.problems import FieldProblem, child


@dataclass(frozen=True)
class Place:
    """`own`: what the author wrote at `path`; None where the value is not theirs."""

    path: str
    own: Any = None

    def field(self, name: str) -> Place:
        """A field of the object here."""
        inner = self.own.get(name) if isinstance(self.own, Mapping) else None
        return Place(child(self.path, name), inner)

    def entry(self, index: int, value: Any, keys: Sequence[str] = ()) -> Place:
        """An entry of the list here; by its keys where it has any, since merging moves entries."""
        if not isinstance(self.own, list):
            return Place(child(self.path, _label(index, value, keys)))
        if not keys:
            return Place(child(self.path, index), self.own[index] if index < len(self.own) else None)
        wanted = identity(value, keys)
        if index < len(self.own) and identity(self.own[index], keys) == wanted:
            return Place(child(self.path, index), self.own[index])
        for number, each in enumerate(self.own):
            if identity(each, keys) == wanted:
                return Place(child(self.path, number), each)
        return Place(child(self.path, _label(index, value, keys)))

    def at(self, path: str) -> Place:
        """The same value, told of at another path."""
        return replace(self, path=path)


def identity(value: Any, keys: Sequence[str]) -> tuple[str, ...]:
    """What tells an entry of a list apart from the others; a port's protocol is TCP where it says none."""
    if not isinstance(value, Mapping):
        return (str(value),)
    return tuple(str(value.get(key) or ("TCP" if key == "protocol" else "")) for key in keys)


def _label(index: int, value: Any, keys: Sequence[str]) -> str | int:
    # The runtime's entry has no number in the author's list: it is called by its first key.
    return identity(value, keys)[0] or index if keys else index


def told_once(
    problems: Iterator[FieldProblem] | Sequence[FieldProblem], told: Sequence[FieldProblem]
) -> Iterator[FieldProblem]:
    """Without those of fields of which something was told already."""
    fields = {problem.field for problem in told}
    for problem in problems:
        if problem.field not in fields:
            yield problem
