"""How many tokens of new prompts a step takes beside running answers, so that these do not wait for long."""

from __future__ import annotations

from collections.abc import Sequence

_BESIDE_SECONDS = 0.25
"""What running answers may wait for prompts in each step, or as long as their own part of it takes. More
where more prompts wait than answers run: whoever is slowed down, more are brought on.
"""
_ALONE_SECONDS = 1.0
"""A step without running answers: a client that leaves is noticed between two steps."""
_LEAST, _MOST = 16, 4096
_GUESS = 1 / 200  # seconds per token before anything was measured
_WEIGHT = 0.5  # of the newest measurement
_OTHERS = 0.8  # of a step is not the prompts' at most, however long the steps before took


class PromptBudget:
    """Learns what a token of a prompt costs on this machine with this model, beside what answers cost."""

    def __init__(self) -> None:
        self._each: float | None = None  # seconds of a prompt's token
        self._step: float | None = None  # seconds of a step without prompts

    def tokens(self, *, running: int, reading: int = 1) -> int:
        """For the next step. `running`: answers that wait for it; a slow step may become twice as long.
        `reading`: prompts of which it can take a part.
        """
        seconds = _ALONE_SECONDS
        if running:
            beside = max(_BESIDE_SECONDS, self._step or 0.0)
            seconds = max(beside, min(_ALONE_SECONDS, beside * reading / running))
        return max(_LEAST, min(_MOST, int(seconds / (self._each or _GUESS))))

    def spent(self, tokens: int, seconds: float, *, running: bool) -> None:
        """A step with so many tokens of prompts took so long."""
        if not tokens:
            self._step = _mixed(self._step, seconds)
        elif tokens >= _LEAST:  # less says more about the rest of the step
            others = min(self._step or 0.0, seconds * _OTHERS) if running else 0.0
            self._each = _mixed(self._each, (seconds - others) / tokens)


def _mixed(before: float | None, now: float) -> float:
    return now if before is None else before + _WEIGHT * (now - before)


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
