"""Running the sequences of one request: stop strings cut, several choices side by side, everything freed on
exit.

Engines hand their deltas over in the event loop's thread (`Engine.push`), and what is here passes them on at
once: from the engine to the socket no task is woken for a token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.engines.base import Delta, Engine, EngineDead, FinishReason, Sampling, TokenLogprob
from runtime.text.stop import StopMatcher


@dataclass(slots=True)
class Piece:
    """What one step added to choice `index`: text that is certain, tokens counted, the end and its reason."""

    index: int
    text: str
    tokens: int
    finish_reason: FinishReason | None
    logprobs: tuple[TokenLogprob, ...]

    def absorb(self, later: Piece) -> None:
        """Becomes both, as if one step had brought them. `later`: the same choice's next piece."""
        self.text += later.text
        self.tokens += later.tokens
        self.finish_reason = later.finish_reason
        self.logprobs += later.logprobs


@dataclass(frozen=True)
class Job:
    """One sequence to generate: choice `index` of the answer. `echo`: text that goes out before its own."""

    index: int
    request_id: str
    prompt: Sequence[int]
    sampling: Sampling
    echo: str = ""


class Timer(Protocol):
    """Follows one sequence for the metrics."""

    def tokens(self, count: int) -> None:
        """So many tokens came now."""

    def finished(self, reason: str) -> None:
        """The sequence ended: "stop", "length" or "abort"."""


class Meter(Protocol):
    """Measures sequences on engines that do not do it themselves."""

    def begin(self, prompt_tokens: int, max_tokens: int) -> Timer:
        """A sequence was handed to the engine."""


Sink = Callable[[Piece], None]


async def run(engine: Engine, jobs: Sequence[Job], meter: Meter | None, sink: Sink) -> None:
    """Hands over the pieces of all jobs as they come; each job's last piece has a finish_reason.
    Cancelling it frees all. Raises what `Engine.push` raises; an exception of `sink` ends the answer.
    """
    if len(jobs) == 1:
        await _one(engine, jobs[0], meter, sink)
        return
    tasks = [asyncio.create_task(_one(engine, job, meter, sink)) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _one(engine: Engine, job: Job, meter: Meter | None, sink: Sink) -> None:
    timer = meter.begin(len(job.prompt), job.sampling.max_tokens) if meter else None
    sequence = _Sequence(job, timer, _after(job.echo, sink) if job.echo else sink)
    try:
        await engine.push(job.request_id, job.prompt, job.sampling, sequence.take)
        if sequence.ended is None:
            raise EngineDead("the engine ended an answer without a reason")
    finally:
        if timer:
            timer.finished(sequence.ended or "abort")


def _after(text: str, sink: Sink) -> Sink:
    """Puts `text` before that of the first piece."""
    left = text

    def take(piece: Piece) -> None:
        nonlocal left
        piece.text, left = left + piece.text, ""
        sink(piece)

    return take


class _Sequence:
    """One sequence on its way from the engine's deltas to pieces."""

    def __init__(self, job: Job, timer: Timer | None, sink: Sink) -> None:
        self.ended: str | None = None
        self._index = job.index
        self._min_tokens = job.sampling.min_tokens
        self._matcher = StopMatcher(job.sampling.stop) if job.sampling.stop else None
        self._timer = timer
        self._sink = sink
        self._count = 0

    def take(self, delta: Delta) -> bool:
        """Passes a delta on; whether the answer is complete with it."""
        tokens = len(delta.token_ids)
        if self._timer is not None:
            self._timer.tokens(tokens)
        text, finish = delta.text, delta.finish_reason
        if self._matcher is not None:
            text, finish = self._cut(self._matcher, text, tokens, finish)
        if finish is not None:
            self.ended = finish.value
        self._sink(Piece(self._index, text, tokens, finish, delta.logprobs))
        return finish is not None

    def _cut(
        self, matcher: StopMatcher, text: str, tokens: int, finish: FinishReason | None
    ) -> tuple[str, FinishReason | None]:
        self._count += tokens
        text = matcher.feed(text) if self._count > self._min_tokens else matcher.pass_over(text)
        if matcher.hit:
            return text, FinishReason.STOP
        return (text + matcher.flush() if finish else text), finish
