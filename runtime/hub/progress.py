"""Progress of one long step: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

_WIDTH = 28
_REDRAW_SECONDS = 0.1
_LINE_SECONDS = 5.0


class Progress:
    """Shows how far a step is. Call it with (done, total); `total` 0 means unknown. Units are bytes when
    `sizes` is set, else plain counts.
    """

    def __init__(
        self,
        title: str,
        *,
        stream: TextIO | None = None,
        sizes: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title, self._sizes, self._clock = title, sizes, clock
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream.isatty()
        self._started = clock()
        self._shown = self._started if not self._terminal else float("-inf")
        self._drawn = False

    def __call__(self, done: int, total: int) -> None:
        """Reports progress; draws at most ten times a second on a terminal, else a line every five
        seconds.
        """
        now = self._clock()
        if now - self._shown < (_REDRAW_SECONDS if self._terminal else _LINE_SECONDS):
            return
        self._shown = now
        if self._terminal:
            share = done / total if total else 0.0
            filled = int(share * _WIDTH)
            bar = "#" * filled + "-" * (_WIDTH - filled)
            self._stream.write(f"\r\x1b[K{self._title} [{bar}] {self._amount(done, total)}")
            self._drawn = True
        else:
            self._stream.write(f"{self._title}: {self._amount(done, total)}\n")
        self._stream.flush()

    def done(self, remark: str = "done") -> None:
        """Ends the step with a line that stays."""
        start = "\r\x1b[K" if self._drawn else ""
        self._stream.write(f"{start}{self._title}: {remark} ({self._clock() - self._started:.0f} s)\n")
        self._stream.flush()

    def _amount(self, done: int, total: int) -> str:
        if not self._sizes:
            return f"{done}/{total}" if total else str(done)
        text = f"{done / 1e6:.0f} MB"
        return f"{done / total:4.0%}, {done / 1e6:.0f} of {total / 1e6:.0f} MB" if total else text
