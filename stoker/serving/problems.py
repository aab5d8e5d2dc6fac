"""What is wrong with an object, field by field, in the words that the API server itself uses.

A problem has the exact path of the field (`spec.predictor.model.resources.requests.cpu`), a reason that
programs read (the cause types of `metav1.Status.details.causes`), and a message for people that shows the
value, says what is allowed and, where a word looks mistyped, the nearest one.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Reason = Literal[
    "FieldValueInvalid",
    "FieldValueRequired",
    "FieldValueNotSupported",
    "FieldValueNotFound",
    "FieldValueForbidden",
    "FieldValueDuplicate",
]

_SHOWN = 12  # allowed values listed in one message; schemas of flags have hundreds
_LONGEST = 120  # characters of a value repeated in a message
MOST_HINTS = 50
"""Nearest words told of in one list: to look for one takes long, and so many are no typing mistakes."""
_NEAR = 0.7  # of difflib: the share of two words' letters that match in order
_MOST_COMPARED = 50
_json = json.JSONEncoder(ensure_ascii=False, default=str).encode
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class FieldProblem:
    """One problem of one field. Two problems are the same when all their parts are.

    `about`: what the message does not show and an update must not change where it is to be the same problem
    still, such as the value of a variable.
    """

    field: str
    reason: Reason
    message: str
    about: str = ""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class Invalid(Exception):
    """An object that cannot be parsed or rendered, with every problem found, never only the first."""

    def __init__(self, *problems: FieldProblem) -> None:
        self.problems = problems
        super().__init__("; ".join(str(problem) for problem in problems))


def child(path: str, *steps: str | int) -> str:
    """Path of a field below `path`: `child("spec.a", "b", 0, "x/y")` is `spec.a.b[0][x/y]`."""
    for step in steps:
        if isinstance(step, int):
            path = f"{path}[{step}]"
        elif (step.isascii() and step.isidentifier()) or _PLAIN_KEY.fullmatch(step):
            path = f"{path}.{step}" if path else step
        else:
            path = f"{path}[{step}]"
    return path


def invalid(field: str, value: Any, detail: str) -> FieldProblem:
    """`detail` says what the value must be."""
    return FieldProblem(field, "FieldValueInvalid", f"Invalid value: {shown(value)}: {detail}")


def required(field: str, detail: str) -> FieldProblem:
    """`detail` says what belongs there."""
    return FieldProblem(field, "FieldValueRequired", f"Required value: {detail}")


def forbidden(field: str, detail: str) -> FieldProblem:
    """`detail` says why the field may not be set and what to do instead."""
    return FieldProblem(field, "FieldValueForbidden", f"Forbidden: {detail}")


def not_supported(
    field: str, value: Any, allowed: Iterable[str], detail: str = "", *, hint: bool = True
) -> FieldProblem:
    """A word outside a closed list: the message holds the list and, with `hint`, the nearest word."""
    known = sorted(set(allowed))
    message = f"Unsupported value: {shown(value)}: supported values: {listed(known)}"
    return FieldProblem(
        field, "FieldValueNotSupported", message + _ending(value, known if hint else [], detail)
    )


def not_found(
    field: str, value: Any, known: Iterable[str], detail: str = "", *, hint: bool = True
) -> FieldProblem:
    """A name of something that does not exist: the message holds what does and, with `hint`, the nearest."""
    names = sorted(set(known))
    message = f"Not found: {shown(value)}: there is {listed(names) if names else 'none'}"
    return FieldProblem(field, "FieldValueNotFound", message + _ending(value, names if hint else [], detail))


def duplicate(field: str, value: Any, detail: str = "") -> FieldProblem:
    """A value that must be unique in its list and is not."""
    return FieldProblem(
        field, "FieldValueDuplicate", f"Duplicate value: {shown(value)}" + _ending("", [], detail)
    )


def shown(value: Any) -> str:
    """The value as JSON, cut: messages travel in status and in the answer of kubectl."""
    text = _json(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def listed(words: Iterable[str]) -> str:
    """`"a", "b" and 7 more`."""
    every = list(words)
    quoted = ", ".join(map(_json, every[:_SHOWN]))
    more = len(every) - _SHOWN
    return quoted if more <= 0 else f"{quoted} and {more} more"


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word that was probably meant; None where none is near. Case, `-` and `_` do not count."""
    if len(word) > _LONGEST:
        return None
    wanted, folded = _folded(word), _vocabulary(frozenset(allowed))
    size, letters = len(wanted), _letters(wanted)
    # No more can match than the letters that both have: most of some hundred words end here.
    near = [
        known
        for known, (_, length, theirs) in folded.items()
        if 2 * min(size - (letters & ~theirs).bit_count(), length - (theirs & ~letters).bit_count())
        >= _NEAR * (size + length)
    ]
    if len(near) > _MOST_COMPARED:  # names that somebody numbered: any of them will do
        near = near[:_MOST_COMPARED]
    found = difflib.get_close_matches(wanted, near, n=1, cutoff=_NEAR)
    return folded[found[0]][0] if found else None


@functools.lru_cache(maxsize=64)
def _vocabulary(words: frozenset[str]) -> dict[str, tuple[str, int, int]]:
    """By folded word: the word, and how many and which letters it has. Flags of an image are hundreds."""
    folded = {_folded(each): each for each in sorted(words, reverse=True)}
    return {known: (each, len(known), _letters(known)) for known, each in folded.items()}


def _letters(word: str) -> int:
    """A bit for each letter; some share one, which makes two words look nearer, never farther."""
    bits = 0
    for letter in word:
        bits |= 1 << (ord(letter) & 63)
    return bits


def _folded(word: str) -> str:
    return word.lower().replace("_", "-")


def _ending(value: Any, allowed: list[str], detail: str) -> str:
    meant = nearest(value, allowed) if isinstance(value, str) else None
    hint = f"; did you mean {json.dumps(meant)}?" if meant is not None and meant != value else ""
    return hint + (f"; {detail}" if detail else "")
