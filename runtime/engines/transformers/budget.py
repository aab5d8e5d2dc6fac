"""How many tokens of new prompts a step takes beside running answers, so that these do not wait for long."""

from __future__ import annotations

from collections.abc import Sequence

_BESIDE_SECONDS = 0.25
"""What running answers may wait for prompts in each step."""
_ALONE_SECONDS = 1.0
"""A step without running answers: a client that leaves is noticed between two steps."""
_LEAST, _MOST = 16, 4096
_GUESS = 1 / 200  # seconds per token before anything was measured
_WEIGHT = 0.5  # of the newest measurement


class PromptBudget:
    """Learns what a token of a prompt costs on this machine with this model."""

    def __init__(self) -> None:
        self._seconds: float | None = None

    def tokens(self, *, running: bool) -> int:
        """For the next step. `running`: answers wait for it."""
        seconds = _BESIDE_SECONDS if running else _ALONE_SECONDS
        return max(_LEAST, min(_MOST, int(seconds / (self._seconds or _GUESS))))

    def spent(self, tokens: int, seconds: float) -> None:
        """A step with so many tokens of prompts took so long."""
        if tokens < _LEAST:
            return  # says more about the rest of the step
        each = seconds / tokens
        self._seconds = each if self._seconds is None else self._seconds + _WEIGHT * (each - self._seconds)


def parts(left: Sequence[int], budget: int) -> list[int]:
    """How many tokens each prompt gets of a step's budget; `left`: what each still lacks, the oldest first.

    The oldest gets at least half, so that it comes to an end; then short prompts go before long ones, so that
    a long one does not keep all others waiting. A part is a prompt's end or at least 16 tokens.
    """
    given = [0] * len(left)
    order = sorted(range(1, len(left)), key=lambda n: left[n])
    for n, most in [(0, max(_LEAST, budget // 2)), *((n, budget) for n in order), (0, budget)]:
        part = min(left[n] - given[n], most, budget)
        if part == left[n] - given[n] or part >= _LEAST:
            given[n] += part
            budget -= part
    return given
