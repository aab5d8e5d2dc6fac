"""Finding the end of a JSON object in text that comes in pieces."""

from __future__ import annotations

import re

_NEXT = re.compile(r'[{}\[\]"]')
_NEXT_IN_STRING = re.compile(r'["\\]')


class Object:
    """Follows an object from its first brace, or with `depth` 1 from inside; `ended` once its last came."""

    def __init__(self, depth: int = 0) -> None:
        self.ended = False
        self._depth = depth
        self._in_string = False
        self._escaped = False

    def take(self, text: str) -> int:
        """How much of the text belongs to the object."""
        at = 0
        while at < len(text) and not self.ended:
            if self._escaped:
                self._escaped = False
                at += 1
                continue
            found = (_NEXT_IN_STRING if self._in_string else _NEXT).search(text, at)
            if found is None:
                return len(text)
            at = found.end()
            match found[0]:
                case '"':
                    self._in_string = not self._in_string
                case "\\":
                    self._escaped = True
                case "{" | "[":
                    self._depth += 1
                case _:
                    self._depth -= 1
                    self.ended = self._depth <= 0
        return at
