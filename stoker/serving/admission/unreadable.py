"""An object without what cannot be read in it, so that one mistake does not hide the others.

A number where an object belongs would stop merging, and with it every rule of the merged pod. So it is taken
out, everything else keeps its place, and what follows from its absence alone is not told.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from stoker.serving.api.reading import Object
from stoker.serving.problems import FieldProblem

Read = Callable[[Any], tuple[Any, list[FieldProblem]]]
_STEP = re.compile(r"\[([^\]]*)\]|\.?([^.\[\]]+)")
_ROUNDS = 3  # what stands in for an entry may lack its key
# Without these nothing is left that could be judged.
_WHOLE = re.compile(r"(metadata|spec)(\.(predictor|containers|name|namespace))?(\.(model|containers))?")


class Gone:
    """What was taken out of an object, by path."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._paths = frozenset(paths)
        self._above = frozenset(above for path in paths for above in _prefixes(path))
        self._ports = any(".ports" in path for path in paths)
        self._rights = any(path.endswith((".restartPolicy", ".privileged")) for path in paths)

    def below(self, path: str) -> bool:
        """Whether something was, at the path or below it."""
        return path in self._paths or path in self._above

    def explains(self, problem: FieldProblem) -> bool:
        """Whether a problem may be there only because of that."""
        if problem.field in self._paths or any(each in self._paths for each in _prefixes(problem.field)):
            return True
        if problem.reason == "FieldValueRequired":
            # Of an object that lacks all of some fields, one of which was there; a flag names the model too.
            args = problem.field.removesuffix("storageUri") + "args"
            return problem.field in self._above or (problem.field.endswith("Uri") and self.below(args))
        if problem.reason == "FieldValueNotFound":
            if problem.field.endswith(".port"):
                return self._ports
            kind = "resourceClaims" if ".claims" in problem.field else "volumes"
            return any(self.below(f"{spec}.{kind}") for spec in ("spec", "spec.predictor"))
        return self._rights and problem.reason == "FieldValueForbidden"


def without(obj: Object, problems: Sequence[FieldProblem], read: Read) -> tuple[Object, Gone] | None:
    """A copy that `read` has nothing against, and what was taken out of it or stands in.

    None where there is none. `problems`: what `read` said of the object.
    """
    cut: Object = copy.deepcopy(obj)
    gone: set[str] = set()
    for _ in range(_ROUNDS):
        fields = {problem.field: problem for problem in problems}
        if any(_WHOLE.fullmatch(each) for each in fields):
            return None
        done = {path for path, problem in fields.items() if _taken_out(cut, path, problem)}
        gone |= done
        problems = read(cut)[1]
        if not done or not problems:
            break
    return (cut, Gone(gone)) if not any(map(_is_mistyped, problems)) else None


def _is_mistyped(problem: FieldProblem) -> bool:
    # What is missing, everybody knows of: for a format without a name no runtime is chosen.
    return problem.reason != "FieldValueRequired"


def _taken_out(cut: Object, path: str, problem: FieldProblem) -> bool:
    """Whether there was something at the path that could be taken out, or replaced in its list."""
    *above, last = _steps(path)
    found: Any = cut
    for step in above:
        found = _at(found, step)
    within = len(above) > 0 and above[-1].isdigit()
    if isinstance(found, list) and last.isdigit() and int(last) < len(found):
        value = found[int(last)]
        text = "must be a string" in problem.message
        found[int(last)] = (str(value) if isinstance(value, int | float) else "-") if text else {}
        return True
    if not isinstance(found, dict):
        return False
    if within and (problem.reason == "FieldValueRequired" or "a string or a number" in problem.message):
        # What tells entries apart.
        found[last] = int(above[-1]) + 1 if last == "containerPort" else f"unreadable-{above[-1]}"
        return True
    return found.pop(last, None) is not None


def _steps(path: str) -> Iterator[str]:
    for match in _STEP.finditer(path):
        yield match[1] if match[1] is not None else match[2]


def _prefixes(path: str) -> Iterator[str]:
    """Paths above this one."""
    return (path[: match.start()] for match in _STEP.finditer(path) if match.start())


def _at(value: Any, step: str) -> Any:
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list) and step.isdigit() and int(step) < len(value):
        return value[int(step)]
    return None
