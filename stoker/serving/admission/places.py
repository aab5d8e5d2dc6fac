"""Where in an object somebody wrote what now stands in a merged pod.

A problem of the pod must name the field that its author can change. So the checks of a pod walk through it
with a `Place`: the path of the author's field, and what the author wrote there, found by the keys that
merging goes by. What the author did not write came from the runtime.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from stoker.serving.problems import FieldProblem, child


class Place:
    """`own`: what the author wrote at `path`; None where the value is not theirs."""

    # Every value of a pod gets one, and a path is needed only where something is wrong.
    __slots__ = ("_above", "_numbers", "_step", "own")

    def __init__(self, path: str, own: Any = None, above: Place | None = None, step: str | int = "") -> None:
        self._above: Place | str = path if above is None else above
        self._step = step
        self._numbers: dict[tuple[str, ...], int] | None = (
            None  # of the list here, by what tells entries apart
        )
        self.own = own

    @property
    def path(self) -> str:
        """Where the author finds the value, or would write it."""
        if isinstance(self._above, Place):
            return child(self._above.path, self._step)
        return self._above

    def field(self, name: str) -> Place:
        """A field of the object here."""
        inner = self.own.get(name) if isinstance(self.own, dict) else None
        return Place("", inner, self, name)

    def entry(self, index: int, value: Any, keys: Sequence[str] = ()) -> Place:
        """An entry of the list here; by its keys where it has any, since merging moves entries."""
        if not isinstance(self.own, list):
            return Place("", None, self, _label(index, value, keys))
        if not keys:
            return Place("", self.own[index] if index < len(self.own) else None, self, index)
        wanted = identity(value, keys)
        if index < len(self.own) and identity(self.own[index], keys) == wanted:
            return Place("", self.own[index], self, index)
        if self._numbers is None:
            self._numbers = {}
            for number, each in enumerate(self.own):
                self._numbers.setdefault(identity(each, keys), number)
        moved = self._numbers.get(wanted)
        if moved is None:
            return Place("", None, self, _label(index, value, keys))
        return Place("", self.own[moved], self, moved)


class _Nowhere(Place):
    """The place of every value that nobody asks after: most are right, and need no path."""

    __slots__ = ()

    @property
    def path(self) -> str:
        return ""

    def field(self, name: str) -> Place:
        return self

    def entry(self, index: int, value: Any, keys: Sequence[str] = ()) -> Place:
        return self


NOWHERE: Place = _Nowhere("")


def identity(value: Any, keys: Sequence[str]) -> tuple[str, ...]:
    """What tells an entry of a list apart from the others; a port's protocol is TCP where it says none."""
    if not isinstance(value, dict):
        return (str(value),)
    return tuple(str(value.get(key) or ("TCP" if key == "protocol" else "")) for key in keys)


def _label(index: int, value: Any, keys: Sequence[str]) -> str | int:
    # The runtime's entry has no number in the author's list: it is called by its first key.
    return identity(value, keys)[0] or index if keys else index


def told_once(problems: Iterable[FieldProblem], told: Sequence[FieldProblem]) -> list[FieldProblem]:
    """Without those of fields of which something was told already."""
    found = list(problems)
    fields = {problem.field for problem in told} if found else set()
    return [problem for problem in found if problem.field not in fields]
