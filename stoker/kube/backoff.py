"""Waiting longer after each failure, each process at a moment of its own."""

from __future__ import annotations

import random


class Backoff:
    """Seconds to wait before the next try: `first`, doubled each time up to `cap`, plus jitter.

    Each wait is stretched by a random part of itself, at most `jitter` times: after an outage all
    clients of a server would otherwise come back in the same instant. Defaults as client-go's reflector.
    """

    def __init__(
        self, first: float = 0.8, cap: float = 30.0, jitter: float = 1.0, chance: random.Random | None = None
    ) -> None:
        self._first = first
        self._longest = cap / (1 + jitter)  # so that the longest wait is spread as well
        self._jitter = jitter
        self._chance = chance or random.Random()  # noqa: S311 (spreads load, protects nothing)
        self._current = first

    def next(self) -> float:
        """Seconds to wait now, between `first` and `cap`; the following wait will be longer."""
        wait = self._current * (1 + self._jitter * self._chance.random())
        self._current = min(self._current * 2, self._longest)
        return wait

    def reset(self) -> None:
        """It worked: the next failure waits as briefly as the first did."""
        self._current = self._first
