"""One request as the model's thread sees it, and how its tokens get into the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.engines.base import FinishReason, Sampling, TokenLogprob

if TYPE_CHECKING:
    from runtime.engines.transformers.sampling import Sampler


@dataclass(frozen=True, slots=True)
class Token:
    """What one step added to an answer; no token where its prompt was only to be read."""

    id: int | None
    logprob: TokenLogprob | None
    finish_reason: FinishReason | None


class Answer:
    """`inbox` is read in the event loop, all else belongs to the model's thread but `abandoned`."""

    def __init__(self, prompt: Sequence[int], sampling: Sampling, sampler: Sampler) -> None:
        self.prompt = prompt
        self.sampling = sampling
        self.sampler = sampler
        self.abandoned = False
        self.began: float | None = None
        """When it left the queue, by time.monotonic()."""
        self.taken = 0
        """Tokens of the prompt that are taken in."""
        self.scores = [TokenLogprob(prompt[0], None, ())] if sampling.prompt_logprobs else []
        """Of the prompt's tokens, where they are wanted; complete with the first item in the inbox."""
        self.generated = 0
        self.last_token = 0
        self.inbox: asyncio.Queue[Token | Exception] = asyncio.Queue()
        self.loop = asyncio.get_running_loop()

    @property
    def left(self) -> int:
        """Tokens of the prompt that are still to be taken in."""
        return len(self.prompt) - self.taken


def deliver(news: Sequence[tuple[Answer, Token | Exception]]) -> None:
    """Hands over what a step made, from the model's thread: the event loop is woken once for all."""
    if news and not (loop := news[0][0].loop).is_closed():
        loop.call_soon_threadsafe(_put, news)


def _put(news: Iterable[tuple[Answer, Token | Exception]]) -> None:
    for answer, item in news:
        answer.inbox.put_nowait(item)
