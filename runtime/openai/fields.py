"""Reading a request's JSON object field by field: typed, bounded, and nothing left over."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.flags.nearest import nearest
from runtime.openai.problem import ApiProblem

_SHOWN = 5
_MISSING = object()


class Fields:
    """The fields of one JSON object. Each accessor takes a field (null counts as absent) and notes what is
    wrong with it; `finish` refuses the object with everything that was wrong, unknown fields included.
    """

    def __init__(self, data: Mapping[str, Any], path: str = "") -> None:
        self.data = data
        self._path = path
        self._known: set[str] = set()
        self.problems: list[tuple[str, str]] = []

    def take(self, name: str) -> Any:
        """The raw value, None where absent."""
        self._known.add(name)
        return self.data.get(name)

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.data.get(name) is not None

    def wrong(self, name: str, message: str) -> None:
        """Notes a problem with a field."""
        self.problems.append((self._path + name, message))

    def integer(self, name: str, low: int, high: int, default: Any = None) -> Any:
        """A whole number between two bounds."""
        value = self.take(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self.wrong(name, "must be a whole number")
        elif not low <= value <= high:
            self.wrong(name, f"must be between {low} and {high}")
        else:
            return value
        return default

    def number(self, name: str, low: float, high: float, default: Any = None, *, above: bool = False) -> Any:
        """A number between two bounds; `above` leaves the lower one out."""
        value = self.take(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.wrong(name, "must be a number")
        elif not (low < value if above else low <= value) or value > high:
            self.wrong(name, f"must be {'above' if above else 'at least'} {low:g} and at most {high:g}")
        elif not math.isfinite(value):
            self.wrong(name, "must be a finite number")
        else:
            return float(value)
        return default

    def truth(self, name: str, default: bool = False) -> bool:
        """true or false."""
        value = self.take(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.wrong(name, "must be true or false")
            return default
        return value

    def text(self, name: str, longest: int) -> str | None:
        """A string of at most so many characters."""
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self.wrong(name, "must be a string")
        elif len(value) > longest:
            self.wrong(name, f"must have at most {longest} characters")
        elif not encodable(value):
            self.wrong(name, "holds half of a surrogate pair, which is no text")
        else:
            return value
        return None

    def only(self, name: str, allowed: Sequence[Any], why: str) -> None:
        """A field that has one meaning here: those values pass, anything else is refused with the reason."""
        value = self.take(name)
        if value is not None and not any(type(each) is type(value) and each == value for each in allowed):
            self.wrong(name, why)

    def finish(self, beside: Sequence[str] = ()) -> None:
        """Notes fields that nobody asked for; `beside` are accepted and have no effect."""
        known = self._known | set(beside)
        for name in self.data:
            if name not in known:
                close = nearest(name, known)
                hint = f"; did you mean `{close}`?" if close else ""
                self.wrong(name[:64], f"is not a field of this endpoint{hint}")

    def raise_problems(self) -> None:
        """Raises one ApiProblem (400) for everything noted, named after the first field."""
        if not self.problems:
            return
        shown = [f"`{name}` {message}" for name, message in self.problems[:_SHOWN]]
        more = len(self.problems) - len(shown)
        text = "; ".join(shown) + (f"; and {more} more" if more else "")
        raise ApiProblem(400, text, param=self.problems[0][0], code="invalid_value")


def encodable(text: str) -> bool:
    """Whether a string is text: JSON can spell halves of surrogate pairs, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
