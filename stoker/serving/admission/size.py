"""How much one object may hold: every rule looks at every value of it, and an answer must come in time."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from stoker.serving.api.reading import Object
from stoker.serving.problems import FieldProblem, forbidden

MOST_VALUES = 3000
"""Of spec, labels and annotations together; the largest runtimes have some hundreds."""
MOST_LEVELS = 50


def check(obj: Object) -> FieldProblem | None:
    """Why the object is not looked at any further. Looks at no more values than may be there."""
    metadata = obj.get("metadata")
    keys = metadata if isinstance(metadata, dict) else {}
    level: list[Any] = [obj.get("spec"), keys.get("labels"), keys.get("annotations")]
    count = 0
    for _ in range(MOST_LEVELS):
        inner = [_inside(each) for each in level]
        count += sum(map(len, inner))
        if count > MOST_VALUES:
            break
        level = [each for values in inner for each in values if isinstance(each, dict | list)]
        if not level:
            return None
    return forbidden(
        "spec", f"with labels and annotations it has more than {MOST_VALUES} values or {MOST_LEVELS} levels"
    )


def _inside(value: Any) -> Collection[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
