"""How much work is taken on: sequences and waiting prompt tokens are bounded, the rest is refused at once."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from runtime.openai.problem import ApiProblem

_LONGEST_RETRY = 60
_HALF_LIFE = 10.0


class Rate:
    """How much of something happens per second, recent seconds counting most."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sum = 0.0
        self._at = clock()

    def add(self, amount: float) -> None:
        """So much happened now."""
        self._sum = self._decayed() + amount
        self._at = self._clock()

    def per_second(self) -> float:
        """The rate; 0 where nothing happened yet."""
        return self._decayed() * math.log(2) / _HALF_LIFE

    def _decayed(self) -> float:
        return self._sum * math.exp2((self._at - self._clock()) / _HALF_LIFE)


class Ticket:
    """What one request was let in with: its sequences, and the prompt tokens of those without a token yet."""

    def __init__(self, admission: Admission, tokens: Sequence[int]) -> None:
        self.waiting = dict(enumerate(tokens))
        self._admission = admission

    def began(self, index: int) -> None:
        """Sequence `index` has its first token."""
        self._admission._waited(self.waiting.pop(index, 0))


class Admission:
    """Counts the sequences of requests being answered and their waiting tokens, up to two limits."""

    def __init__(
        self,
        limit: int,
        waiting_tokens: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._limit = limit
        self._limit_tokens = waiting_tokens
        self._jitter = jitter
        self._sequences = 0
        self._tokens = 0
        self._finished = Rate(clock)
        self._started = Rate(clock)

    @property
    def sequences(self) -> int:
        """Sequences handed to the engine and not finished."""
        return self._sequences

    @property
    def waiting_tokens(self) -> int:
        """Prompt tokens of sequences that have no token yet."""
        return self._tokens

    def require_room(self, sequences: int = 1, tokens: int = 0) -> None:
        """Refuses (429) what would go over a limit; asked before a body is read, so that it costs little."""
        over = self._sequences + sequences - self._limit
        if over > 0:
            raise self._refusal(
                f"The server works on {self._sequences} sequences and takes at most {self._limit}.",
                over,
                self._finished,
            )
        # A prompt longer than the limit is let in where nothing waits: else it never could be.
        over = self._tokens + max(tokens, 1) - self._limit_tokens
        if over > 0 and self._tokens:
            raise self._refusal(
                f"{self._tokens} tokens of prompts wait to be read, and at most {self._limit_tokens} may.",
                over,
                self._started,
            )

    def retry_after(self) -> int:
        """Seconds until the prompts that wait now will have been read, judging by late: for those whom the
        engine, or its queue, has no room for.
        """
        return self._wait(max(1, self._tokens), self._started)

    def _wait(self, over: int, rate: Rate) -> int:
        """Seconds until so much has happened, 1 to 60; spread, so that not all come together. 1 where nothing
        was measured yet.
        """
        pace = rate.per_second()
        seconds = over / pace if pace * _LONGEST_RETRY > over else (_LONGEST_RETRY if pace else 1.0)
        return min(_LONGEST_RETRY, max(1, math.ceil(seconds * (1 + 0.5 * self._jitter()))))

    def _refusal(self, message: str, over: int, rate: Rate) -> ApiProblem:
        """A 429 that says when there will be room."""
        wait = self._wait(over, rate)
        return ApiProblem(
            429,
            f"{message} Try again in {wait} s.",
            code="overloaded",
            headers={"Retry-After": str(wait)},
        )

    @contextmanager
    def enter(self, tokens: Sequence[int]) -> Iterator[Ticket]:
        """Counts sequences in for as long as they run; `tokens`: of each's prompt. Raises ApiProblem."""
        self.require_room(len(tokens), sum(tokens))
        self._sequences += len(tokens)
        self._tokens += sum(tokens)
        ticket = Ticket(self, tokens)
        try:
            yield ticket
        finally:
            self._sequences -= len(tokens)
            self._tokens -= sum(ticket.waiting.values())
            self._finished.add(len(tokens))

    def _waited(self, tokens: int) -> None:
        self._tokens -= tokens
        self._started.add(tokens)


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
