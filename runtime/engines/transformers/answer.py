"""One request as the model's thread sees it, and how its tokens get into the event loop."""

from __future__ import annotations

import asyncio
import time
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
        self.reading = prompt
        """What the model is to take in before the next token: the prompt, and after it lost its row for
        others what it had generated, too.
        """
        self.taken = 0
        """Tokens of it that are taken in."""
        self.scores: list[TokenLogprob] = []
        """Of the prompt's tokens, where they are wanted; complete with the first item in the inbox."""
        self.made: list[int] = []
        """The tokens generated."""
        self.inbox: asyncio.Queue[Token | Exception] = asyncio.Queue()
        self.loop = asyncio.get_running_loop()

    @property
    def left(self) -> int:
        """Tokens that are still to be taken in before the next one."""
        return len(self.reading) - self.taken

    @property
    def scored(self) -> bool:
        """Whether log probabilities of what is read are wanted."""
        return self.sampling.prompt_logprobs and not self.made

    @property
    def length(self) -> int:
        """Tokens of the prompt and generated ones."""
        return len(self.prompt) + len(self.made)

    def begin(self) -> None:
        """It gets a row, and nothing of it is taken in yet."""
        self.began = self.began or time.monotonic()
        self.reading, self.taken = [*self.prompt, *self.made], 0
        if self.scored:
            self.scores = [TokenLogprob(self.prompt[0], None, ())]


def deliver(news: Sequence[tuple[Answer, Token | Exception]]) -> None:
    """Hands over what a step made, from the model's thread: the event loop is woken once for all."""
    if news and not (loop := news[0][0].loop).is_closed():
        loop.call_soon_threadsafe(_put, news)


def _put(news: Iterable[tuple[Answer, Token | Exception]]) -> None:
    for answer, item in news:
        answer.inbox.put_nowait(item)
