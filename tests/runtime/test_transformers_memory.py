"""The memory for keys and values: how much there is, who waits for it, and that it comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtime.engines.base import ModelFiles, OneAtATime, Sampling
from runtime.engines.transformers import budget
from runtime.engines.transformers.engine import TransformersEngine
from runtime.engines.transformers.memory import Room, room
from runtime.failures import Failure, Reason
from runtime.state import Phase, Progress

from .architectures import ONE_AT_A_TIME, TOGETHER, tiny_model
from .serving import Server, serve
from .stepping import started, watched_in
from .tiny import llama3_style_tokenizer, save_tiny_llama

_COLUMN = 256  # bytes of the tiny Llama: 2 layers of 2 heads of 8 numbers of 4 bytes, keys and values
_MIB = 1 << 20


class Recorded:
    def __init__(self) -> None:
        self.phases: list[Phase] = []
        self.loaded: list[Progress] = []

    def phase(self, phase: Phase) -> None:
        self.phases.append(phase)

    def progress(self, progress: Progress) -> None:
        self.loaded.append(progress)


# --- how much there is ---


def test_half_of_what_is_free_or_what_was_asked_for() -> None:
    def made(free: int, asked: int | None = None) -> Room:
        return room(1000, 2048, free=free, asked=asked, fixed_length=False)

    assert made(10_000_000) == Room(5000, 2048)
    assert made(10_000_000, asked=9_000_000) == Room(9000, 2048)
    assert made(2 * 2_048_000) == Room(2048, 2048)  # exactly one of them
    assert made(2 * 2_048_000 - 2) == Room(2047, 1920)  # a byte less: shorter ones
    assert room(0, 2048, free=1, asked=None, fixed_length=True) == Room(0, 2048)  # states alone


@pytest.mark.parametrize("asked", [None, 300 * _MIB])
def test_a_length_that_was_asked_for_fits_or_ends_the_start(asked: int | None) -> None:
    def sized(longest: int, free: int, asked: int | None) -> Room:
        return room(46_080, longest, free=free, asked=asked, fixed_length=True)

    with pytest.raises(Failure, match="8192 tokens take 360 MiB") as failure:
        sized(8192, 600 * _MIB, asked)
    assert failure.value.reason is Reason.OUT_OF_MEMORY
    advice = failure.value.message.split("Set ")[1]
    shorter = int(advice.split("--max_model_len=")[1].split()[0])
    assert sized(shorter, 600 * _MIB, asked).max_model_len == shorter
    if asked is None:
        more = int(advice.split("memory limit by ")[1].split()[0])
        assert sized(8192, (600 + more) * _MIB, None).columns >= 8192
    else:
        more = int(advice.split("--kv_cache_memory_bytes to ")[1].split("M")[0])
        assert sized(8192, 600 * _MIB, more * _MIB).columns >= 8192
    with pytest.raises(Failure, match=r"256 tokens take 11 MiB.* Raise the memory limit"):
        room(46_080, 8192, free=20 * _MIB, asked=None, fixed_length=False)


# --- who waits for it ---


@pytest.fixture
async def small(tmp_path: Path) -> Any:
    """A context of 1,024 tokens, and memory for half of that."""
    model = save_tiny_llama(tmp_path, max_position_embeddings=1024)
    memory = 512 * _COLUMN
    engine = TransformersEngine(ModelFiles(model, model), max_num_seqs=16, kv_cache_memory_bytes=memory)
    async with serve(engine=engine) as server:
        yield server


async def test_one_token_more_than_memory_holds_is_refused(small: Server) -> None:
    for count, status in ((511, 200), (512, 400)):
        body = {"model": "m", "prompt": [5] * count, "max_tokens": 1}
        code, answer = await small.post("/v1/completions", body)
        assert code == status
    assert "512" in str(answer["error"])


@pytest.mark.parametrize(("length", "together"), [(61, 8), (64, 4), (253, 2), (256, 1)])
async def test_who_does_not_fit_waits_and_gets_the_memory_of_who_leaves(
    small: Server, length: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slots are of 64, 128, 256 and 512 tokens; the next token has its place before an answer begins."""
    monkeypatch.setattr(budget, "_LEAST", 4096)  # all prompts in a step
    async with watched_in(small) as watched:
        (*firsts, (last, waiting)) = [started(small, [5] * length) for _ in range(together + 1)]
        await watched.began(1)
        watched.let.release(3)
        await watched.began(4)
        load = small.engine.load()
        assert (load.running, load.waiting, load.cache) == (together, 1, 1.0)
        scraped = await (await small.http.get(f"{small.url}/metrics")).text()
        assert 'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 1.0' in scraped
        assert not waiting.done()
        for answer, task in firsts:
            await task
            await answer.aclose()
        watched.let.release(2)
        async with asyncio.timeout(20):
            await waiting
        await last.aclose()
        watched.free = True
        watched.let.release(5)
        async with asyncio.timeout(20):
            while small.engine.load().running or small.engine.load().cache:
                await asyncio.sleep(0.005)
        assert (small.engine.load().waiting, small.engine.load().preempted) == (0, 0)


# --- whoever leaves, the others' tokens are those of `generate` ---

ANSWERS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 50), st.one_of(st.none(), st.integers(0, 20))),
    min_size=3,
    max_size=8,
)
PROMPTS = [list(range(n, n + length)) for n, length in ((5, 3), (60, 12), (40, 70), (9, 120))]
_LONGEST = 50


@pytest.mark.parametrize("kind", ["mistral", "gemma3_text", "gpt2", *ONE_AT_A_TIME])
def test_rows_leave_in_any_order_and_nobody_notices(kind: str, tmp_path: Path) -> None:
    """Answers end, are cancelled, and lose their rows for others; the library's own caches stand behind those
    that run one at a time: windows, states, both.
    """
    model = tiny_model(kind, 260)
    model.save_pretrained(tmp_path)
    llama3_style_tokenizer().save_pretrained(tmp_path)
    expected = [
        model.generate(_tensor(prompt), do_sample=False, max_new_tokens=_LONGEST, min_new_tokens=_LONGEST)[
            0, len(prompt) :
        ].tolist()
        for prompt in PROMPTS
    ]
    with structlog.testing.capture_logs() as lines, asyncio.Runner() as runner:
        engine = TransformersEngine(
            ModelFiles(tmp_path, tmp_path), dtype="float32", max_num_seqs=5, kv_cache_memory_bytes=_two(model)
        )
        report = Recorded()
        facts = runner.run(engine.start(report))
        assert report.phases == [Phase.LOADING]
        assert report.loaded[0].done == 0
        assert report.loaded[-1].done == report.loaded[-1].total > 5
        assert (facts.one_at_a_time is None) == (kind in TOGETHER)

        @given(answers=ANSWERS)
        @example(answers=[(2, 50, None), (3, 50, None), (1, 50, 9), (0, 50, None)])  # one outgrows it
        @settings(deadline=None, max_examples=5 if kind in TOGETHER else 2, database=None)
        def leave(answers: list[tuple[int, int, int | None]]) -> None:
            made = runner.run(_all(engine, answers))
            for (which, count, left), tokens in zip(answers, made, strict=True):
                assert tokens == expected[which][: count if left is None else min(left, count)]

        try:
            leave()
            assert bool(engine.load().preempted) == (kind in TOGETHER)
        finally:
            runner.run(engine.stop())
    assert ("one answer at a time" in {line["event"] for line in lines}) == (kind not in TOGETHER)


def _tensor(prompt: list[int]) -> Any:
    import torch

    return torch.tensor([prompt])


def _two(model: Any) -> int | None:
    """Memory for one sequence of all 256 tokens, or for few short ones."""
    config = model.config
    if "num_key_value_heads" not in config and "n_head" not in config:
        return None
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(256 * 2 * config.num_hidden_layers * heads * width * 4)


async def _all(engine: TransformersEngine, answers: list[tuple[int, int, int | None]]) -> list[list[int]]:
    made = await asyncio.gather(*(_one(engine, *answer) for answer in answers))
    async with asyncio.timeout(20):
        while engine.load().running or engine.load().cache:
            await asyncio.sleep(0.001)
    return made


async def _one(engine: TransformersEngine, which: int, count: int, left: int | None) -> list[int]:
    """The tokens of one answer; `left`: its client goes after so many."""
    sampling = Sampling(max_tokens=count, temperature=0.0, ignore_eos=True)
    answer, made = engine.generate("r", PROMPTS[which], sampling), list[int]()
    async for delta in answer:
        if len(made) == left:
            break
        made += delta.token_ids
    await answer.aclose()
    return made


async def test_one_at_a_time_is_said_where_people_look(tmp_path: Path) -> None:
    tiny_model("mamba", 260).save_pretrained(tmp_path)
    llama3_style_tokenizer().save_pretrained(tmp_path)
    async with serve(f"--model_id={tmp_path}", "--backend=huggingface", "--max_model_len=64") as server:
        backend = server.service.state.document()["backend"]
        scraped = await (await server.http.get(f"{server.url}/metrics")).text()
    assert backend["reason"] == "Requested"
    assert "one answer at a time: " in backend["message"]
    shown = {
        each for each in OneAtATime if f'stoker_runtime_one_at_a_time{{reason="{each.value}"}} 1.0' in scraped
    }
    assert len(shown) == 1
