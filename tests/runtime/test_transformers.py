"""The transformers engine on a tiny random model: batching, sampling, and how it starts and ends."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import openai
import pytest
import torch

from runtime.engines.base import EngineDead, FinishReason, ModelFiles, Sampling
from runtime.engines.transformers.engine import TransformersEngine
from runtime.failures import Failure, Reason
from runtime.state import BackendName, Phase, Progress

from .serving import Server, serve
from .tiny import llama3_style_tokenizer, save_tiny_llama

PROMPTS = ["Hello", "A much longer prompt than the others, to be padded against", "x", "abc def"]


class Silent:
    def phase(self, phase: Phase) -> None: ...

    def progress(self, progress: Progress) -> None: ...


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
async def server(tiny: Path) -> Server:
    async with serve(engine=TransformersEngine(ModelFiles(tiny, tiny), max_num_seqs=4)) as server:
        yield server


async def tokens(server: Server, prompt: str, sampling: Sampling) -> list[int]:
    ids = server.service.facts.tokenizer.encode(prompt)
    return [token async for delta in server.engine.generate("r", ids, sampling) for token in delta.token_ids]


def reference(tiny: Path, ids: list[int], count: int) -> list[int]:
    """What the library's own `generate` answers."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny)
    made = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=count, min_new_tokens=count)
    return list(made[0, len(ids) :].tolist())


async def test_greedy_answers_are_those_of_generate_alone_and_in_a_batch(server: Server, tiny: Path) -> None:
    greedy = Sampling(max_tokens=24, temperature=0.0, ignore_eos=True, min_tokens=24)
    encode = server.service.facts.tokenizer.encode
    expected = [reference(tiny, encode(prompt), 24) for prompt in PROMPTS]
    assert await tokens(server, PROMPTS[0], greedy) == expected[0]
    # Six sequences for four rows, of different lengths: they join and leave while others go on.
    wanted = [*PROMPTS, *PROMPTS[:2]]
    answers = await asyncio.gather(*(tokens(server, prompt, greedy) for prompt in wanted))
    assert answers == [*expected, *expected[:2]]


async def test_a_closed_answer_frees_its_row(server: Server) -> None:
    ids = server.service.facts.tokenizer.encode("Hello")
    endless = Sampling(max_tokens=200, temperature=0.0, ignore_eos=True)
    answers = [server.engine.generate(f"r{n}", ids, endless) for n in range(5)]
    for answer in answers[:4]:
        await anext(answer)
    waiting = asyncio.create_task(anext(answers[4]))
    await asyncio.sleep(0)
    for answer in answers[:4]:
        await answer.aclose()
    await asyncio.wait_for(waiting, 10)
    await answers[4].aclose()
    async with asyncio.timeout(5):
        while server.engine.load().running:
            await asyncio.sleep(0.01)


async def test_the_same_seed_gives_the_same_answer_whatever_else_runs(server: Server) -> None:
    sampled = Sampling(max_tokens=12, temperature=1.5, seed=11, ignore_eos=True)
    other = Sampling(max_tokens=30, temperature=1.5, seed=5, ignore_eos=True)
    alone = await tokens(server, "Hello", sampled)
    beside, _, _ = await asyncio.gather(
        tokens(server, "Hello", sampled), tokens(server, "x", other), tokens(server, "abc", other)
    )
    assert alone == beside
    assert (
        await tokens(server, "Hello", Sampling(max_tokens=12, temperature=1.5, seed=12, ignore_eos=True))
        != alone
    )


async def test_the_context_ends_an_answer(server: Server) -> None:
    answer = await server.openai.completions.create(
        model="m", prompt="Hi", max_tokens=253, temperature=0, extra_body={"ignore_eos": True}
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 256


@pytest.mark.parametrize("stop", [(), ("never",)])
async def test_a_stop_token_is_counted_and_not_shown(server: Server, stop: tuple[str, ...]) -> None:
    made = await tokens(server, "Hello", Sampling(max_tokens=8, temperature=0.0, ignore_eos=True))
    last = next(token for token in made if made.index(token) > 1)
    sampling = Sampling(max_tokens=8, temperature=0.0, ignore_eos=True, stop=stop, stop_token_ids=(last,))
    ids = server.service.facts.tokenizer.encode("Hello")
    deltas = [delta async for delta in server.engine.generate("r", ids, sampling)]
    kept = made[: made.index(last)]
    assert [token for delta in deltas for token in delta.token_ids] == [*kept, last]
    assert "".join(delta.text for delta in deltas) == server.service.facts.tokenizer.decode(kept)
    assert deltas[-1].finish_reason is FinishReason.STOP


async def test_logprobs(server: Server) -> None:
    chat = await server.openai.chat.completions.create(
        model="m",
        messages=[{"role": "user", "content": "x"}],
        max_tokens=4,
        temperature=0,
        logprobs=True,
        top_logprobs=3,
    )
    assert chat.choices[0].logprobs is not None
    entries = chat.choices[0].logprobs.content or []
    assert len(entries) == chat.usage.completion_tokens  # type: ignore[union-attr]
    for entry in entries:
        assert len(entry.top_logprobs) == 3
        assert entry.logprob == pytest.approx(entry.top_logprobs[0].logprob)  # greedy takes the likeliest
        assert bytes(entry.bytes or []).decode(errors="replace") == entry.token
    text = await server.openai.completions.create(
        model="m", prompt="x", max_tokens=4, logprobs=2, stream=True, extra_body={"ignore_eos": True}
    )
    offsets = [chunk.choices[0].logprobs.text_offset async for chunk in text if chunk.choices[0].logprobs]
    assert len(offsets) == 4
    assert [offset for (offset,) in offsets] == sorted(offset for (offset,) in offsets)


async def test_a_stopped_engine_ends_its_answers(tiny: Path) -> None:
    async with serve(engine=TransformersEngine(ModelFiles(tiny, tiny))) as server:
        ids = server.service.facts.tokenizer.encode("Hello")
        answer = server.engine.generate("r", ids, Sampling(max_tokens=200, ignore_eos=True, temperature=0))
        await anext(answer)
        await server.engine.stop()
        with pytest.raises(EngineDead):
            async for _ in answer:
                pass


async def test_failures_say_what_to_change(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="--max_model_len=256 or less") as long:
        await TransformersEngine(ModelFiles(tiny, tiny), max_model_len=512).start(Silent())
    assert long.value.reason is Reason.INVALID_ARGUMENT
    (tmp_path / "config.json").write_text('{"model_type": "never-heard-of"}')
    with pytest.raises(Failure) as unknown:
        await TransformersEngine(ModelFiles(tmp_path, tmp_path)).start(Silent())
    assert unknown.value.reason is Reason.MODEL_UNSUPPORTED


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "t5"}, "decoders only"),
        ({"model_type": "bart"}, "decoders only"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "--task=text_embedding"),
    ],
)
async def test_models_that_write_no_text_are_refused(
    config: dict[str, object], words: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(Failure, match=words) as failure:
        await TransformersEngine(ModelFiles(tmp_path, tmp_path)).start(Silent())
    assert failure.value.reason is Reason.MODEL_UNSUPPORTED


async def test_auto_falls_back_where_vllm_is_not_installed(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "vllm" else real(name))
    async with serve(f"--model_id={tiny}", "--backend=auto", "--max_model_len=64") as server:
        backend = server.service.state.backend
        assert backend is not None
        assert (backend.name, backend.reason) == (BackendName.HUGGINGFACE, "VllmNotInstalled")
        answer = await server.openai.completions.create(model="m", prompt="Hi", max_tokens=3)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == 3
        assert server.service.limits.max_model_len == 64
    for flags, reason in (
        (["--backend=vllm"], Reason.BACKEND_UNAVAILABLE),
        (["--backend=auto", "--gpu_memory_utilization=0.5"], Reason.INVALID_ARGUMENT),
        (
            ["--backend=huggingface", "--task=text_embedding", "--kv_cache_memory_bytes=1G"],
            Reason.INVALID_ARGUMENT,
        ),
    ):
        async with serve(f"--model_id={tiny}", *flags, wait=False) as server:
            with pytest.raises(Failure) as failure:
                await server.run
            assert failure.value.reason is reason


async def test_batched_answers_in_bfloat16_are_within_rounding_of_the_likeliest(tiny: Path) -> None:
    """Six answers of mixed lengths for four rows; then one forward pass over each shows, for every token that
    was chosen, by how much the model would have preferred another one.
    """
    from transformers import AutoModelForCausalLM

    lengths = [3, 24, 9, 17, 30, 12]
    engine = TransformersEngine(ModelFiles(tiny, tiny), dtype="bfloat16", max_num_seqs=4)
    async with serve(engine=engine) as server:
        ids = [server.service.facts.tokenizer.encode(prompt) for prompt in [*PROMPTS, *PROMPTS[:2]]]
        answers = await asyncio.gather(
            *(
                tokens(server, prompt, Sampling(max_tokens=n, temperature=0.0, ignore_eos=True))
                for prompt, n in zip([*PROMPTS, *PROMPTS[:2]], lengths, strict=True)
            )
        )
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16)
    for prompt, answer in zip(ids, answers, strict=True):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].float()
        for place, token in enumerate(answer, start=len(prompt) - 1):
            assert logits[place].max() - logits[place, token] <= 0.1


async def test_tokens_that_only_the_tokenizer_has_are_one_requests_trouble(tmp_path: Path) -> None:
    folder = save_tiny_llama(tmp_path)
    tokenizer = llama3_style_tokenizer()
    tokenizer.add_tokens(["<added>"])
    tokenizer.save_pretrained(folder)
    async with serve(engine=TransformersEngine(ModelFiles(folder, folder))) as server:
        ask = server.openai.completions.create
        refused, answered = await asyncio.gather(
            ask(model="m", prompt="an <added> one", max_tokens=2),
            ask(model="m", prompt="a plain one", max_tokens=2),
            return_exceptions=True,
        )
        assert isinstance(refused, openai.BadRequestError)
        assert "added to the tokenizer and not to the model" in str(refused)
        assert not isinstance(answered, BaseException)
