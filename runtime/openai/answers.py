"""Running the sequences of one request: stop strings cut, several choices merged, everything freed on
exit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from runtime.engines.base import Engine, EngineDead, FinishReason, Sampling, TokenLogprob
from runtime.text.stop import StopMatcher


@dataclass(frozen=True, slots=True)
class Piece:
    """What one step added to choice `index`: text that is certain, tokens counted, the end and its reason."""

    index: int
    text: str
    tokens: int
    finish_reason: FinishReason | None
    logprobs: tuple[TokenLogprob, ...]


@dataclass(frozen=True)
class Job:
    """One sequence to generate: choice `index` of the answer."""

    index: int
    request_id: str
    prompt: Sequence[int]
    sampling: Sampling


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


async def run(engine: Engine, jobs: Sequence[Job], meter: Meter | None) -> AsyncGenerator[Piece, None]:
    """The pieces of all jobs as they come; each job's last piece has a finish_reason. Closing it frees
    all.
    """
    if len(jobs) == 1:
        async with aclosing(_pieces(engine, jobs[0], meter)) as pieces:
            async for piece in pieces:
                yield piece
        return
    queue: asyncio.Queue[Piece | Exception] = asyncio.Queue()
    tasks = [asyncio.create_task(_pump(engine, job, meter, queue)) for job in jobs]
    open_jobs = len(jobs)
    try:
        while open_jobs:
            item = await queue.get()
            if isinstance(item, Exception):
                raise item
            open_jobs -= item.finish_reason is not None
            yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(
    engine: Engine, job: Job, meter: Meter | None, queue: asyncio.Queue[Piece | Exception]
) -> None:
    try:
        async with aclosing(_pieces(engine, job, meter)) as pieces:
            async for piece in pieces:
                queue.put_nowait(piece)
    except Exception as error:
        queue.put_nowait(error)


async def _pieces(engine: Engine, job: Job, meter: Meter | None) -> AsyncGenerator[Piece, None]:
    matcher = StopMatcher(job.sampling.stop)
    timer = meter.begin(len(job.prompt), job.sampling.max_tokens) if meter else None
    ended = "abort"
    count = 0
    try:
        async with aclosing(engine.generate(job.request_id, job.prompt, job.sampling)) as deltas:
            async for delta in deltas:
                tokens = len(delta.token_ids)
                count += tokens
                if timer:
                    timer.tokens(tokens)
                text = delta.text if count <= job.sampling.min_tokens else matcher.feed(delta.text)
                finish = FinishReason.STOP if matcher.hit else delta.finish_reason
                if finish and not matcher.hit:
                    text += matcher.flush()
                if finish:
                    ended = finish.value
                yield Piece(job.index, text, tokens, finish, delta.logprobs)
                if finish:
                    return
        raise EngineDead("the engine ended an answer without a reason")
    finally:
        if timer:
            timer.finished(ended)
