"""An update is refused only for what it makes worse: rules that are new must not block old objects."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from stoker.serving.problems import FieldProblem

_INDEX = re.compile(r"\[\d+\]")


def split(
    new: Sequence[FieldProblem], old: Sequence[FieldProblem]
) -> tuple[tuple[FieldProblem, ...], tuple[str, ...]]:
    """The problems that the object did not have, and a warning for each that it had; entries may move."""
    had = Counter(_place_free(problem) for problem in old)
    worse, kept = [], []
    for problem in new:
        key = _place_free(problem)
        if had[key] > 0:
            had[key] -= 1
            kept.append(f"not new, so allowed: {problem}")
        else:
            worse.append(problem)
    return tuple(worse), tuple(kept)


def _place_free(problem: FieldProblem) -> FieldProblem:
    message = _ARGS.sub("args[]", problem.message)
    return replace(problem, field=_INDEX.sub("[]", problem.field), message=message)


_ARGS = re.compile(r"args\[\d+\]")
