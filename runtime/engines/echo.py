"""The echo engine: answers with the prompt, token by token, without a model. For tests and load.

A completion is answered with its prompt's tokens, a chat with the last message's content, then the end of
text. With `ignore_eos` it goes round until max_tokens. All answers get their tokens at the ticks of one
clock, `token_seconds` apart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import cycle

from runtime.engines.base import (
    Delta,
    EngineDead,
    FinishReason,
    Load,
    ModelFacts,
    Reporter,
    Sampling,
    Sink,
)
from runtime.state import Phase
from runtime.text.bytes_tokenizer import BEGIN, END, TURN, BytesTokenizer
from runtime.text.tokenizer import TextStream


class EchoEngine:
    """Deterministic: what comes out depends on the prompt and on max_tokens, min_tokens and ignore_eos
    only.
    """

    name = "echo"
    own_metrics = False

    def __init__(
        self,
        *,
        max_model_len: int | None = None,
        max_num_seqs: int | None = None,
        token_seconds: float = 0.0,
        load_seconds: float = 0.0,
    ) -> None:
        self._max_model_len = max_model_len if max_model_len and max_model_len > 0 else 32768
        self._slots = asyncio.Semaphore(max_num_seqs or 4096)
        self._clock = _Clock(token_seconds)
        self._load_seconds = load_seconds
        self._tokenizer = BytesTokenizer()
        self._running = 0
        self._waiting = 0
        self._began: dict[str, float] = {}

    async def start(self, report: Reporter) -> ModelFacts:
        """Sleeps for the load time."""
        report.phase(Phase.LOADING)
        await asyncio.sleep(self._load_seconds)
        return ModelFacts(max_model_len=self._max_model_len, tokenizer=self._tokenizer)

    async def stop(self) -> None:
        """Ends unfinished answers at their next token."""
        self._clock.stopped = True

    def problem(self) -> str | None:
        """An echo never fails."""
        return None

    def load(self) -> Load:
        """Answers under way and answers without a slot."""
        return Load(self._running, self._waiting)

    def steps(self) -> int:
        """Tokens given."""
        return self._clock.tokens

    def began(self, request_id: str) -> float | None:
        """`Timed.began`."""
        return self._began.get(request_id)

    async def push(self, request_id: str, prompt: Sequence[int], sampling: Sampling, sink: Sink) -> None:
        """The prompt's tokens again."""
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        self._began[request_id] = time.monotonic()
        echo = _Echo(self._tokenizer.stream(), _answer(prompt), sampling, sink)
        self._clock.join(echo)
        try:
            await echo.done
        finally:
            self._clock.leave(echo)
            self._running -= 1
            self._began.pop(request_id, None)
            self._slots.release()


class _Echo:
    """One answer under way."""

    def __init__(self, stream: TextStream, answer: Sequence[int], sampling: Sampling, sink: Sink) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stream = stream
        self._answer = answer
        self._source = cycle([*answer, END])
        self._sampling = sampling
        self._sink = sink
        self._count = 0

    def step(self) -> bool:
        """Gives the next token; whether that was the last. An exception of the sink ends the answer."""
        try:
            complete = self._sink(self._next())
        except Exception as error:
            self.end(error)
            return True
        if complete:
            self.end(None)
        return complete

    def end(self, error: Exception | None) -> None:
        """The answer is over."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)

    def _next(self) -> Delta:
        self._count += 1
        sampling, count, token = self._sampling, self._count, next(self._source)
        while token == END and (sampling.ignore_eos or count <= sampling.min_tokens) and self._answer:
            token = next(self._source)
        finish = None
        if token == END or token in sampling.stop_token_ids:
            finish = FinishReason.STOP
        elif count == sampling.max_tokens:
            finish = FinishReason.LENGTH
        text = "" if finish is FinishReason.STOP else self._stream.push([token])
        return Delta(text + self._stream.flush() if finish else text, [token], finish)


class _Clock:
    """One timer for all answers: at every tick each gets a token, as in a step of a real engine."""

    def __init__(self, seconds: float) -> None:
        self.tokens = 0
        self.stopped = False
        self._seconds = seconds
        self._answers: dict[_Echo, None] = {}
        self._timer: asyncio.Handle | None = None
        self._due = 0.0

    def join(self, echo: _Echo) -> None:
        """From the next tick on."""
        self._answers[echo] = None
        if self._timer is None:
            self._due = asyncio.get_running_loop().time()
            self._wind()

    def leave(self, echo: _Echo) -> None:
        """No more tokens for it."""
        self._answers.pop(echo, None)
        if not self._answers and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wind(self) -> None:
        # From when the last tick was due, not from now: so that a late one does not slow the clock.
        self._due += self._seconds
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(self._due, self._tick) if self._seconds else loop.call_soon(self._tick)

    def _tick(self) -> None:
        self._timer = None
        for echo in list(self._answers):
            if self.stopped:
                echo.end(EngineDead("the echo engine was stopped"))
                continue
            self.tokens += 1
            if echo.step():
                self._answers.pop(echo, None)
        if self._answers:
            self._wind()


def _answer(prompt: Sequence[int]) -> list[int]:
    """What is echoed: the last complete chat turn's content, else the whole prompt."""
    turns = [index for index, token in enumerate(prompt) if token == TURN]
    if len(turns) >= 2:
        content = list(prompt[turns[-2] + 1 : turns[-1]])
        return content[content.index(ord("\n")) + 1 :]
    return [token for token in prompt if token not in (BEGIN, TURN, END)]
