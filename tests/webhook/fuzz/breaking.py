"""Good objects of the table with one value changed for a wrong one: what is still let through runs.

Made-up objects seldom have what a deep field needs around it; a row's good neighbour has.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from tests.admission.cases import TABLE
from tests.webhook.objects import Object

_WORDS = ("{{.Nme}}", "bad value!", "", "A" * 300, "a/b/c", "-x", None)
_NUMBERS = (-1, 0, 2**31, 70_000)
_EMPTY = (None, {}, [])
_ANY = frozenset({"image", "command", "args"})  # any word will do, or flags have their own tests
_Steps = tuple[str | int, ...]


def broken() -> Iterator[Object]:
    """InferenceServices; each field with each wrong value once, wherever it stands first."""
    seen: set[tuple[_Steps, str]] = set()
    for case in TABLE:
        if case.good["kind"] != "InferenceService":
            continue
        for steps, value in _inside(case.good["spec"]["predictor"]):
            if _ANY & set(steps):
                continue
            field = tuple("#" if isinstance(step, int) else step for step in steps)
            for wrong in _wrong(value):
                if (field, repr(wrong)) not in seen:
                    seen.add((field, repr(wrong)))
                    yield _with(case.good, ("spec", "predictor", *steps), wrong)


def _wrong(value: Any) -> tuple[Any, ...]:
    if isinstance(value, str):
        return _WORDS
    if isinstance(value, int) and not isinstance(value, bool):
        return _NUMBERS
    return _EMPTY if isinstance(value, dict | list) else (None,)


def _inside(value: Any, steps: _Steps = ()) -> Iterator[tuple[_Steps, Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, each in inner:
        yield from _inside(each, (*steps, step))
        yield (*steps, step), each


def _with(obj: Object, steps: _Steps, value: Any) -> Object:
    made = copy.deepcopy(obj)
    made["metadata"]["namespace"] = "default"
    found: Any = made
    for step in steps[:-1]:
        found = found[step]
    found[steps[-1]] = value
    return made
