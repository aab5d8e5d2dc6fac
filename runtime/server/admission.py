"""How much work is taken on: sequences running and queued are bounded, the rest is refused at once."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from runtime.openai.problem import ApiProblem

_LONGEST_RETRY = 60


class Admission:
    """Counts the sequences of requests being answered, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sequences = 0
        self._typical_seconds = 1.0

    @property
    def sequences(self) -> int:
        """Sequences handed to the engine and not finished."""
        return self._sequences

    def require_room(self, sequences: int = 1) -> None:
        """Refuses (429) what would go over the limit; asked before a body is read, so that it costs
        little.
        """
        if self._sequences + sequences <= self._limit:
            return
        # A place is free when one of the running requests ends: on average a typical answer's time divided
        # by how many run, but never promise less than a second.
        wait = min(_LONGEST_RETRY, max(1, math.ceil(self._typical_seconds * sequences / self._limit)))
        raise ApiProblem(
            429,
            f"The server works on {self._sequences} sequences and takes at most {self._limit}. "
            f"Try again in {wait} s.",
            code="overloaded",
            headers={"Retry-After": str(wait)},
        )

    @contextmanager
    def enter(self, sequences: int) -> Iterator[None]:
        """Counts sequences in for as long as they run. Raises ApiProblem (429)."""
        self.require_room(sequences)
        self._sequences += sequences
        began = time.monotonic()
        try:
            yield
        finally:
            self._sequences -= sequences
            self._typical_seconds += 0.1 * (time.monotonic() - began - self._typical_seconds)


class InFlight:
    """The requests being answered, so that a drain can wait for them and in the end cut them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self.cutting = False

    def __len__(self) -> int:
        return len(self._tasks)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Counts the current task as a request being answered."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._empty.clear()
        try:
            yield
        finally:
            self._tasks.discard(task)
            if not self._tasks:
                self._empty.set()

    async def empty(self) -> None:
        """Returns when nothing is being answered."""
        await self._empty.wait()

    def cut(self) -> None:
        """Ends every answer now; handlers tell their clients why (`cut_short`)."""
        self.cutting = True
        for task in list(self._tasks):
            task.cancel()

    def cut_short(self) -> ApiProblem | None:
        """Called where a request was cancelled: the problem to answer with if it was cut, None if the client
        left. Takes the cancellation back, so that the answer can still be written.
        """
        task = asyncio.current_task()
        if not self.cutting or task is None:
            return None
        task.uncancel()
        return ApiProblem(
            503,
            "The server is shutting down and the time for unfinished answers is over.",
            code="draining",
            headers=DRAINING,
        )


DRAINING = {"x-stoker-draining": "1", "Connection": "close", "Retry-After": "1"}
"""Headers of a refusal while draining; a proxy that sees the first may try another server."""
