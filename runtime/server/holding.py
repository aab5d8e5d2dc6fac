"""Under load a stream's tokens wait a little for those that follow, so that several go out in one chunk.

A chunk costs the process more than the tokens in it. Where few tokens are generated that does not matter, and
each goes out at once; where many are, what came since the last chunk goes out together, for all streams at
the ticks of one timer.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

BUSY = 1000
"""Tokens a second of all streams together from which on they are held: a twentieth of a core, about."""
_WINDOW = 0.1  # seconds over which they are counted


class Holding:
    """One for all streams of the server. `seconds`: how long a token may be held; 0: never."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._held: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False
        self._count = 0
        self._since = self._until = -math.inf

    def counted(self, now: float) -> bool:
        """Counts what one step added to a stream, at `now` by the event loop's clock; whether to hold it."""
        if not self._seconds:
            return False
        self._count += 1
        if now >= self._until:
            self._busy = self._count >= BUSY * (now - self._since)
            self._count, self._since, self._until = 0, now, now + _WINDOW
        return self._busy

    def hold(self, let_go: Callable[[], None]) -> None:
        """Calls `let_go` within the time that a token may be held."""
        self._held.append(let_go)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._let_go)

    def _let_go(self) -> None:
        self._timer = None
        held, self._held = self._held, []
        for let_go in held:
            let_go()
