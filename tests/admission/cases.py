"""The table of mistakes: for each the layer that stops it, where, in which words, and a valid neighbour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.admission.table import pod_values, pods, runtimes, security, services
from tests.admission.table.objects import Object

# In the order in which the API server asks them.
LAYERS = ("schema", "cel", "policy", "webhook")


@dataclass(frozen=True)
class Case:
    """`field`: where the refusal points; `words`: part of its message."""

    name: str
    layer: Literal["schema", "cel", "policy", "webhook"]
    field: str
    words: str
    bad: Object
    good: Object


_ROWS = [*services.ROWS, *pods.ROWS, *pod_values.ROWS, *security.ROWS, *runtimes.ROWS]
TABLE = [Case(*row) for row in _ROWS]  # type: ignore[arg-type]  # the layer is a plain string there
CASES: list[tuple[str, Object]] = [(case.name, case.bad) for case in TABLE]
