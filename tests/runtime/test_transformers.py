"""The transformers engine on a tiny random model: batching, sampling, and how it starts and ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.engines.base import EngineDead, ModelFiles, Sampling
from runtime.engines.transformers.engine import TransformersEngine
from runtime.engines.transformers.sampling import Sampler
from runtime.failures import Failure, Reason
from runtime.state import BackendName, Phase, Progress

from .serving import Server, serve
from .tiny import save_tiny_llama

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


async def test_sequences_that_leave_early_do_not_disturb_the_others(server: Server, tiny: Path) -> None:
    encode = server.service.facts.tokenizer.encode
    lengths = [3, 24, 9, 17]
    answers = await asyncio.gather(
        *(
            tokens(server, prompt, Sampling(max_tokens=n, temperature=0.0, ignore_eos=True, min_tokens=n))
            for prompt, n in zip(PROMPTS, lengths, strict=True)
        )
    )
    for prompt, n, answer in zip(PROMPTS, lengths, answers, strict=True):
        assert answer == reference(tiny, encode(prompt), n)


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
        assert entry.bytes == list(entry.token.encode())
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
    ):
        async with serve(f"--model_id={tiny}", *flags, wait=False) as server:
            with pytest.raises(Failure) as failure:
                await server.run
            assert failure.value.reason is reason


# --- choosing a token ---


def sampler(
    sampling: Sampling, prompt: list[int] | None = None, ends: frozenset[int] = frozenset()
) -> Sampler:
    return Sampler(sampling, prompt or [], ends, torch.device("cpu"))


def draw(sampling: Sampling, logits: list[float], times: int = 400) -> Counter[int]:
    return Counter(
        sampler(
            Sampling(**{**{name: getattr(sampling, name) for name in Sampling.__slots__}, "seed": n})
        ).choose(torch.tensor(logits))[0]
        for n in range(times)
    )


def test_frequencies_follow_the_probabilities() -> None:
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    counts = draw(Sampling(max_tokens=1), probabilities.log().tolist(), 2000)
    for token, probability in enumerate(probabilities.tolist()):
        assert counts[token] / 2000 == pytest.approx(probability, abs=0.04)


def test_top_k_top_p_and_min_p_cut_the_tail() -> None:
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log().tolist()
    assert set(draw(Sampling(max_tokens=1, top_k=2), logits)) == {0, 1}
    assert set(draw(Sampling(max_tokens=1, top_p=0.65), logits)) == {0, 1}
    assert set(draw(Sampling(max_tokens=1, top_p=0.01), logits)) == {0}
    assert set(draw(Sampling(max_tokens=1, min_p=0.6), logits)) == {0, 1}
    assert set(draw(Sampling(max_tokens=1, temperature=0.01), logits)) == {0}


def test_penalties_and_biases() -> None:
    def greedy(**changes: object) -> Sampler:
        return sampler(Sampling(max_tokens=9, temperature=0.0, **changes))  # type: ignore[arg-type]

    even = torch.tensor([1.0, 0.9, 0.8])
    for change in ({"presence_penalty": 0.5}, {"frequency_penalty": 0.5}, {"repetition_penalty": 2.0}):
        one = greedy(**change)
        assert [one.choose(even)[0] for _ in range(3)] == [0, 1, 2]
    assert greedy(logit_bias={2: 5.0}).choose(even)[0] == 2
    # A repetition penalty counts the prompt too, the others do not.
    assert sampler(Sampling(max_tokens=1, temperature=0.0, repetition_penalty=2.0), [0]).choose(even)[0] == 1
    assert sampler(Sampling(max_tokens=1, temperature=0.0, presence_penalty=2.0), [0]).choose(even)[0] == 0


def test_ends_are_out_of_reach_until_min_tokens() -> None:
    one = sampler(Sampling(max_tokens=9, min_tokens=2, temperature=0.0), ends=frozenset({0}))
    assert [one.choose(torch.tensor([5.0, 1.0]))[0] for _ in range(3)] == [1, 1, 0]


@given(logits=st.lists(st.floats(-30, 30), min_size=3, max_size=12))
@settings(deadline=None)
def test_logprobs_are_the_models_own(logits: list[float]) -> None:
    sampling = Sampling(max_tokens=1, logprobs=2, temperature=0.5, logit_bias={0: 3.0})
    token, logprob = sampler(sampling).choose(torch.tensor(logits))
    expected = torch.log_softmax(torch.tensor(logits), -1)
    assert logprob is not None
    assert logprob.logprob == pytest.approx(float(expected[token]), abs=1e-5)
    assert [value for _, value in logprob.top] == pytest.approx(
        sorted(expected.tolist(), reverse=True)[:2], abs=1e-5
    )


class Forward:
    """Counts what a model is called with."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.shapes: list[tuple[int, ...]] = []
        model.register_forward_pre_hook(self._called, with_kwargs=True)

    def _called(self, module: object, args: object, inputs: dict[str, torch.Tensor]) -> None:
        self.shapes.append(tuple(inputs["input_ids"].shape))


def test_prompts_of_different_lengths_are_taken_in_together(tiny: Path) -> None:
    """One call of the model for three prompts beside a running row, and the logits of each as if alone."""
    from transformers import AutoModelForCausalLM

    from runtime.engines.transformers.batch import Batch

    model = AutoModelForCausalLM.from_pretrained(tiny).eval()
    prompts = [[5, 6, 7], [9], [11, 12, 13, 14, 15, 16, 17], [20, 21]]
    batch, forward = Batch(model), Forward(model)
    batch.join(prompts[:1])
    logits = batch.join(prompts[1:])
    assert forward.shapes == [(1, 3), (3, 7)]
    following = batch.step([1, 2, 3, 4])
    batch.keep([1, 3])
    last = batch.step([8, 9])
    whole = [[*prompt, token] for prompt, token in zip(prompts, [1, 2, 3, 4], strict=True)]
    with torch.inference_mode():

        def alone(ids: list[int]) -> torch.Tensor:
            return model(input_ids=torch.tensor([ids])).logits[0, -1]

        for row, prompt in zip(logits, prompts[1:], strict=True):
            torch.testing.assert_close(row, alone(prompt), atol=1e-4, rtol=1e-4)
        for row, ids in zip(following, whole, strict=True):
            torch.testing.assert_close(row, alone(ids), atol=1e-4, rtol=1e-4)
        for row, ids in zip(last, [[*whole[1], 8], [*whole[3], 9]], strict=True):
            torch.testing.assert_close(row, alone(ids), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["mamba", "bloom", "mistral"])
async def test_a_model_whose_cache_cannot_be_shared_answers_one_at_a_time(
    kind: str, tiny: Path, tmp_path: Path
) -> None:
    """States, no positions, a sliding window: both answers are those of `generate`, one after the other."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    sizes = {
        "mamba": {"num_hidden_layers": 2, "hidden_size": 32, "state_size": 4},
        "bloom": {"n_layer": 2, "n_head": 2, "hidden_size": 32},
        "mistral": {
            "num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2,
            "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 8, "max_position_embeddings": 256,
        },
    }  # fmt: skip
    torch.manual_seed(3)
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), eos_token_id=None, **sizes[kind])
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    async with serve(engine=TransformersEngine(ModelFiles(tmp_path, tmp_path))) as server:
        greedy = Sampling(max_tokens=12, temperature=0.0, ignore_eos=True)
        answers = await asyncio.gather(*(tokens(server, prompt, greedy) for prompt in PROMPTS[:2]))
        ids = [server.service.facts.tokenizer.encode(prompt) for prompt in PROMPTS[:2]]
        assert answers == [reference(tmp_path, each, 12) for each in ids]
