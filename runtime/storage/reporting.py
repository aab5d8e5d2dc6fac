"""How far a fetch is: in the state document at every step, in the log every few seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from runtime.state import Progress, State

_EVERY = 5.0  # seconds between lines


class Reporting:
    """Called by a transfer, from any thread."""

    def __init__(self, state: State, log: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._state, self._log, self._clock = state, log, clock
        self._lock = threading.Lock()
        self._last: tuple[float, int] | None = None  # when the last line was written, and how far it was

    def report(self, done: int, total: int) -> None:
        """`done` of `total` bytes are there."""
        self._state.progress = Progress(done, total, "bytes")
        now = self._clock()
        with self._lock:
            last = self._last
            if last is None or now - last[0] >= _EVERY or (done == total and done != last[1]):
                self._last = (now, done)
            else:
                return
        speed = max(0.0, (done - last[1]) / (now - last[0])) if last and now > last[0] else 0.0
        words: dict[str, Any] = {"done_mb": round(done / 1e6), "total_mb": round(total / 1e6)}
        if speed:
            words |= {"mb_per_second": round(speed / 1e6, 1), "seconds_left": round((total - done) / speed)}
        self._log.info("fetching", **words)

    def waiting(self) -> None:
        """Another process fetches the same."""
        self._log.info("waiting", reason="another process fetches the same model into the same place")

    def retrying(self, problem: str, seconds: float) -> None:
        """Something failed and is tried again after so many seconds."""
        self._log.warning("trying again", problem=problem, seconds=round(seconds, 1))
