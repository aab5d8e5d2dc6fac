"""Trying again, boundedly: what may pass is tried again after growing, jittered waits."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

_RANDOM = random.SystemRandom()


class Transient(Exception):
    """Failed in a way that may pass. `after`: seconds that the server asked to wait."""

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.after = after


class Cancelled(Exception):
    """Another part of the same work failed for good."""


@dataclass
class Retrying:
    """How often and how long. `attempts` in a row without progress end it: with the times here after about
    two minutes, which outlasts a restart of a load balancer but not a wrong address.
    """

    attempts: int = 7
    first: float = 1.0
    longest: float = 60.0
    cancelled: threading.Event = field(default_factory=threading.Event)
    draw: Callable[[], float] = _RANDOM.random
    # For tests: waits without waiting. Returns whether the work was cancelled.
    wait: Callable[[float], bool] | None = None
    on_retry: Callable[[str, float], None] = lambda message, seconds: None
    on_wait: Callable[[], None] = lambda: None  # another process does the same work; it is waited for

    def pause(self, failed: int, problem: Transient) -> None:
        """Wait before the next attempt, `failed` attempts in a row having failed. Raises the problem when
        there have been enough, Cancelled when there is no use any more.
        """
        if failed >= self.attempts:
            raise problem
        # Between half and the whole of it, so that many pods that lost one server do not return together.
        seconds = min(self.longest, self.first * 2 ** (failed - 1)) * (0.5 + self.draw() / 2)
        if problem.after is not None:
            seconds = max(seconds, min(problem.after, self.longest))
        self.on_retry(problem.message, seconds)
        if (self.wait or self.cancelled.wait)(seconds):
            raise Cancelled

    def call(self, work: Callable[[], T]) -> T:
        """The work's result; tried again as long as it raises Transient."""
        failed = 0
        while True:
            try:
                return work()
            except Transient as problem:
                failed += 1
                self.pause(failed, problem)
