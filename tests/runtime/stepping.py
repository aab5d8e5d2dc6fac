"""The transformers engine's steps, let through one by one."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import torch

from runtime.engines.base import Sampling

from .serving import Server

ENDLESS = Sampling(max_tokens=200, temperature=0.0, ignore_eos=True)


class Watched:
    """A model's batching whose steps are let through one by one, and what each was called with."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.steps: list[list[int]] = []
        """The number of tokens of each row."""
        self.open_rows = 0
        self.let = threading.Semaphore(0)
        self.free = False
        self.fail_prompts = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def open(self) -> Any:
        self.open_rows += 1
        return self._inner.open()

    def close(self, row: Any) -> None:
        self.open_rows -= 1
        self._inner.close(row)

    def step(self, work: Sequence[tuple[Any, Sequence[int]]]) -> torch.Tensor:
        self.steps.append([len(tokens) for _, tokens in work])
        if not self.free:
            assert self.let.acquire(timeout=20)
        if self.fail_prompts and any(len(tokens) > 1 for _, tokens in work):
            raise MemoryError("no room for this prompt")
        logits: torch.Tensor = self._inner.step(work)
        return logits

    async def began(self, count: int) -> None:
        """Waits until so many steps began."""
        async with asyncio.timeout(20):
            while len(self.steps) < count:
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def watched_in(server: Server) -> AsyncIterator[Watched]:
    """Holds the steps of a server that has warmed up."""
    worker = server.engine._worker  # type: ignore[attr-defined]
    async with asyncio.timeout(20):
        while worker._running:  # the warm-up's row goes back to where it came from
            await asyncio.sleep(0.005)
    watched = worker._batching = Watched(worker._batching)
    yield watched
    watched.free = True
    watched.let.release(1000)


def started(server: Server, prompt: Sequence[int], sampling: Sampling = ENDLESS) -> Any:
    answer = server.engine.generate("r", prompt, sampling)  # type: ignore[attr-defined]
    return answer, asyncio.create_task(anext(answer))
