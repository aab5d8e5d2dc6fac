"""What a step of the transformers engine holds: running answers, parts of prompts, and nobody who left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runtime.engines.base import ModelFiles, NotFinite, Sampling
from runtime.engines.transformers import budget
from runtime.engines.transformers.budget import PromptBudget, parts
from runtime.engines.transformers.engine import TransformersEngine

from .serving import Server, serve
from .stepping import Watched, started, watched_in
from .tiny import save_tiny_llama


@pytest.fixture
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Server, Watched]]:
    """A server with two rows whose steps take at most 16 tokens of prompts."""
    monkeypatch.setattr(budget, "_MOST", 16)
    model = save_tiny_llama(tmp_path)
    engine = TransformersEngine(ModelFiles(model, model), max_num_seqs=2)
    async with serve(engine=engine) as server, watched_in(server) as watched:
        yield server, watched


async def waiting_are(server: Server, count: int) -> None:
    async with asyncio.timeout(20):
        while server.engine.load().waiting != count:
            await asyncio.sleep(0.005)


async def test_a_long_prompt_comes_in_parts_beside_running_answers(running: tuple[Server, Watched]) -> None:
    server, watched = running
    short, first = started(server, [5, 6, 7])
    watched.let.release()
    await first
    await watched.began(2)
    long, task = started(server, list(range(100)))
    await waiting_are(server, 1)
    before = server.engine.steps()
    watched.let.release(8)
    await task
    beside = [step for step in watched.steps if len(step) == 2][:7]
    # Every step gives the running answer its token and takes a part; the prompt's last part is what is left.
    assert beside == [[1, 16]] * 6 + [[1, 4]]
    assert server.engine.steps() >= before + 7  # each is progress for who watches
    watched.free = True
    watched.let.release(100)
    await short.aclose()
    await long.aclose()


async def test_who_leaves_is_in_no_further_step(running: tuple[Server, Watched]) -> None:
    """Running, in the middle of a prompt, or waiting for a row."""
    server, watched = running
    answering, first = started(server, [5, 6, 7])
    watched.let.release()
    await first
    await watched.began(2)  # what comes now is not in this one
    taking, prompt = started(server, list(range(100)))
    waiting, queued = started(server, [9])
    await waiting_are(server, 2)
    watched.let.release()
    await watched.began(3)
    assert (server.engine.load().running, server.engine.load().waiting) == (2, 1)
    for answer, task in ((waiting, queued), (taking, prompt)):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await answer.aclose()
    assert server.engine.load().waiting == 0
    steps = len(watched.steps)
    watched.let.release(2)
    await watched.began(steps + 2)
    assert watched.steps[-1] == [1]
    assert watched.open_rows == 1
    await answering.aclose()
    watched.let.release(5)
    async with asyncio.timeout(10):
        while watched.open_rows or server.engine.load().running:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_hangs_up_frees_its_row(running: tuple[Server, Watched], stream: bool) -> None:
    server, watched = running
    ask = server.openai.completions.create(
        model="m", prompt="Hello", max_tokens=200, stream=stream, extra_body={"ignore_eos": True}
    )
    task = asyncio.create_task(ask)
    watched.let.release(3)
    await watched.began(4)
    task.cancel()
    if stream:
        answer = await asyncio.gather(task, return_exceptions=True)
        if not isinstance(answer[0], BaseException):
            await answer[0].close()
    steps = len(watched.steps)
    async with asyncio.timeout(10):
        while not all(each.abandoned for each in list(server.engine._worker._running)):  # type: ignore[attr-defined]
            await asyncio.sleep(0.005)
    watched.let.release(50)
    async with asyncio.timeout(10):
        while watched.open_rows:
            await asyncio.sleep(0.005)
    assert len(watched.steps) <= steps + 1  # the one that was under way


async def test_the_trouble_of_a_prompt_is_its_own(running: tuple[Server, Watched]) -> None:
    server, watched = running
    answering, first = started(server, [5])
    watched.let.release()
    await first
    watched.free = watched.fail_prompts = True
    watched.let.release(2)
    failing, task = started(server, [6, 7, 8])
    with pytest.raises(MemoryError):
        await task
    await anext(answering)
    assert server.engine.problem() is None
    await answering.aclose()
    await failing.aclose()


@pytest.mark.parametrize("prompt", [[6, 7, 8], [6]])
async def test_numbers_that_are_not_finite_are_their_own_answers_trouble(
    running: tuple[Server, Watched], prompt: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, watched = running
    answering, first = started(server, [5])
    watched.let.release()
    await first
    step = watched.step

    def last_row_overflows(work: Any) -> torch.Tensor:
        logits = step(work)
        if len(work) > 1:
            logits[-1] = torch.nan
        return logits

    monkeypatch.setattr(watched, "step", last_row_overflows)
    watched.free = True
    watched.let.release(2)
    failing, task = started(server, prompt, Sampling(max_tokens=9, temperature=1.0))
    with pytest.raises(NotFinite):
        await task
    for _ in range(3):
        await anext(answering)
    assert server.engine.problem() is None
    await answering.aclose()
    await failing.aclose()


async def test_what_no_number_can_bear_is_refused_and_the_next_is_answered(
    running: tuple[Server, Watched],
) -> None:
    server, watched = running
    watched.free = True
    watched.let.release(100)

    async def ask(penalty: float) -> Any:
        return await server.openai.completions.create(
            model="m", prompt="x", max_tokens=5, temperature=1, extra_body={"repetition_penalty": penalty}
        )

    for refused in (1e-38, 0.009):
        with pytest.raises(openai.BadRequestError, match="repetition_penalty"):
            await ask(refused)
    for taken in (0.01, 1.0, 10):
        assert (await ask(taken)).choices[0].finish_reason in ("stop", "length")
    assert server.engine.problem() is None


# --- budgets ---


@given(st.lists(st.integers(1, 500), min_size=1, max_size=8), st.integers(16, 600))
def test_parts_keep_to_the_budget_and_bring_the_oldest_on(left: list[int], tokens: int) -> None:
    given_ = parts(left, tokens)
    assert sum(given_) <= tokens
    assert all(0 <= part <= lacking for part, lacking in zip(given_, left, strict=True))
    assert all(part == lacking or part >= 16 for part, lacking in zip(given_, left, strict=True) if part)
    assert given_[0] >= min(left[0], 16)
    # No more than half goes to the oldest while a short one behind it waits that would fit into the rest.
    if len(left) > 1 and given_[0] > max(16, tokens // 2) and left[0] > given_[0]:
        assert all(given_[1:])


def test_budgets_follow_what_prompts_cost() -> None:
    learned = PromptBudget()
    learned.spent(100, 1.0, running=False)
    assert (learned.tokens(running=1), learned.tokens(running=0)) == (25, 100)
    learned.spent(100, 3.0, running=False)  # 20 ms a token by now
    assert learned.tokens(running=0) == 50
    learned.spent(3, 9.0, running=False)  # a step that is about other things
    assert learned.tokens(running=0) == 50
    learned.spent(100, 1000.0, running=False)
    assert learned.tokens(running=1) == 16  # it goes on
    for _ in range(40):
        learned.spent(100, 1e-9, running=False)
    assert learned.tokens(running=1) == 4096


def test_what_answers_cost_is_not_counted_as_the_prompts() -> None:
    learned = PromptBudget()
    learned.spent(0, 0.5, running=True)
    learned.spent(100, 1.0, running=True)  # half a second of it for the answers
    # A step of half a second may take as much again for prompts, at 5 ms a token.
    assert learned.tokens(running=1) == 100


def test_a_burst_of_prompts_does_not_wait_for_the_few_that_run() -> None:
    learned = PromptBudget()
    learned.spent(100, 1.0, running=False)  # 10 ms a token
    assert learned.tokens(running=8, reading=8) == 25
    assert learned.tokens(running=8, reading=16) == 50
    assert learned.tokens(running=1, reading=31) == 100  # as if nothing ran, and never more than a second
    assert learned.tokens(running=31, reading=1) == 25
