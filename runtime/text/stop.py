"""Finding stop strings in text that arrives in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Cuts text at the first stop string, wherever the borders between pieces fall.

    First is the one that is complete earliest; of those that end together the longest. Text that may be the
    beginning of a stop string is held back until the next piece decides.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self._passed = 0  # characters of what is held in which no stop string may end
        self.hit = False

    def pass_over(self, piece: str) -> str:
        """`feed` for text in which no stop string ends the answer; one may begin in it."""
        text = self._held + piece
        keep = self._undecided(text)
        self._held, self._passed = text[len(text) - keep :], keep
        return text[: len(text) - keep]

    def feed(self, piece: str) -> str:
        """The text that is certain to be part of the answer. After a hit: nothing."""
        if self.hit or not self._stops:
            return "" if self.hit else piece
        text = self._held + piece
        cut = self._first(text)
        if cut is not None:
            self.hit, self._held = True, ""
            return text[:cut]
        keep = self._undecided(text)
        self._held = text[len(text) - keep :] if keep else ""
        self._passed = max(0, self._passed - (len(text) - keep))
        return text[: len(text) - keep]

    def flush(self) -> str:
        """The text held back, once no more can follow."""
        held, self._held = self._held, ""
        return held

    def _first(self, text: str) -> int | None:
        best: tuple[int, int] | None = None  # where it ends, where it starts
        for stop in self._stops:
            start = text.find(stop, max(0, self._passed + 1 - len(stop)))
            if start >= 0 and (best is None or (start + len(stop), start) < best):
                best = (start + len(stop), start)
        return None if best is None else best[1]

    def _undecided(self, text: str) -> int:
        """The length of the longest end of `text` that a stop string begins with."""
        longest = 0
        for stop in self._stops:
            for size in range(min(len(stop) - 1, len(text)), longest, -1):
                if text.endswith(stop[:size]):
                    longest = size
                    break
        return longest
