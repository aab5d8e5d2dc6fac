"""Reading typed values out of plain JSON, so that a wrong type is a problem with a path and never a crash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stoker.serving.problems import FieldProblem, child, invalid, required

Object = dict[str, Any]


class Reader:
    """Looks at one JSON object. What has the wrong type reads as absent, and is noted in `problems`."""

    def __init__(self, value: Any, path: str, problems: list[FieldProblem]) -> None:
        self.path = path
        self.problems = problems
        if value is not None and not isinstance(value, dict):
            problems.append(invalid(path, value, "must be an object"))
        self.value: Mapping[str, Any] = value if isinstance(value, dict) else {}

    def has(self, name: str) -> bool:
        """Whether the field is there; null counts as absent, as it does for the API server."""
        return self.value.get(name) is not None

    def at(self, name: str) -> str:
        """Path of a field of this object."""
        return child(self.path, name)

    def inner(self, name: str) -> Reader:
        """Reader of an object inside; of an empty one where it is absent."""
        return Reader(self.value.get(name), self.at(name), self.problems)

    def text(self, name: str, *, need: str = "") -> str | None:
        """A string. Where `need` says what belongs there, an absent or empty one is a problem."""
        value = self.value.get(name)
        if value is None or (need and value == ""):
            if need:
                self.problems.append(required(self.at(name), need))
            return None
        if not isinstance(value, str):
            self.problems.append(invalid(self.at(name), value, "must be a string"))
            return None
        return value

    def flag(self, name: str) -> bool:
        """A boolean; False where it is absent."""
        value = self.value.get(name)
        if value is not None and not isinstance(value, bool):
            self.problems.append(invalid(self.at(name), value, "must be true or false"))
        return value is True

    def integer(self, name: str, *, low: int, high: int) -> int | None:
        """A whole number between `low` and `high`, both included."""
        value = self.value.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.problems.append(
                invalid(self.at(name), value, f"must be a whole number from {low} to {high}")
            )
            return None
        return value

    def object(self, name: str) -> Object | None:
        """A JSON object as it is; None where it is absent."""
        value = self.value.get(name)
        if value is not None and not isinstance(value, dict):
            self.problems.append(invalid(self.at(name), value, "must be an object"))
        return value if isinstance(value, dict) else None

    def objects(self, name: str) -> tuple[Object, ...]:
        """A list of JSON objects; what is no object reads as an empty one: places keep their number."""
        return tuple(self._list(name, dict, "must be an object"))

    def strings(self, name: str) -> tuple[str, ...]:
        """A list of strings; what is no string reads as an empty one."""
        return tuple(self._list(name, str, "must be a string; write numbers and booleans in quotes"))

    def words(self, name: str) -> dict[str, str]:
        """A mapping of strings to strings: labels, annotations, node selectors."""
        inside = self.inner(name)
        return {key: text for key in inside.value if (text := inside.text(key)) is not None}

    def _list(self, name: str, kind: type, detail: str) -> list[Any]:
        value = self.value.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.problems.append(invalid(self.at(name), value, "must be a list"))
            return []
        bad = [(n, item) for n, item in enumerate(value) if not isinstance(item, kind)]
        if not bad:
            return value
        self.problems.extend(invalid(child(self.at(name), n), item, detail) for n, item in bad)
        return [item if isinstance(item, kind) else kind() for item in value]


def objects(value: Any) -> Sequence[tuple[int, Mapping[str, Any]]]:
    """The objects of a list with their places; of anything else none."""
    items = value if isinstance(value, list) else []
    return [(number, each) for number, each in enumerate(items) if isinstance(each, dict)]
