"""Keeping the last words of vLLM's processes.

When vLLM's engine process fails, the exception in this process says "see root cause above": the cause is only
in what the other process printed. While the engine starts, standard output and error go through a pipe
that is copied on; its last lines are kept, and the engine's processes, which inherit it, go on writing to it.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

_LINES = 400
_CAUSE = re.compile(r"\b(?P<kind>[A-Za-z_.]*(?:Error|Exception)): (?P<text>.+)")
# vLLM's own error log, or the last line of a traceback (behind the process's name that vLLM prepends).
_SERIOUS = re.compile(r"\b(ERROR|CRITICAL)\b|^(\([^)]*\) )?[A-Za-z_.]*(Error|Exception): ")
_SHARDS = re.compile(rb"[Ll]oading [\w ]*shards: +\d+% Completed \| (\d+)/(\d+)")  # its progress bar
_CONSEQUENCES = ("Engine core initialization failed", "WorkerProc initialization failed", "Executor failed")


class OutputTail:
    """A context: inside it this process and those it starts write through the pipe."""

    def __init__(self, shards: Callable[[int, int], None] = lambda done, total: None) -> None:
        """`shards`: told how many files of the weights are loaded, of how many, from another thread."""
        self._shards = shards
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._saved: list[tuple[int, int]] = []

    def __enter__(self) -> Self:
        sys.stdout.flush()
        sys.stderr.flush()
        read, write = os.pipe()
        # Each stream is copied to where it went before; both through one pipe, in order, to stderr's place.
        target = os.dup(2)
        for descriptor in (1, 2):
            self._saved.append((descriptor, os.dup(descriptor)))
            os.dup2(write, descriptor)
        os.close(write)
        threading.Thread(target=self._copy, args=(read, target), name="engine output", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, saved in self._saved:
            os.dup2(saved, descriptor)
            os.close(saved)
        self._saved.clear()

    def forget(self) -> None:
        """Forgets what was printed until now: once the engine runs, it is not why it ends."""
        self._lines.clear()

    def cause(self) -> str | None:
        """The first exception that the engine's processes printed as an error, consequences aside."""
        for line in self._lines:
            match = _CAUSE.search(line) if _SERIOUS.search(line) else None
            if match and not any(words in match["text"] for words in _CONSEQUENCES):
                return f"{match['kind'].rsplit('.', 1)[-1]}: {match['text'].strip()}"
        return None

    def _copy(self, read: int, target: int) -> None:
        rest = b""
        while data := os.read(read, 65536):
            with contextlib.suppress(OSError):  # nobody reads our output; the tail is still kept
                os.write(target, data)
            if found := _SHARDS.findall(data):
                self._shards(int(found[-1][0]), int(found[-1][1]))
            *lines, rest = (rest + data).split(b"\n")
            self._lines.extend(line.decode(errors="replace") for line in lines)
        os.close(read)
        os.close(target)
