"""Log probabilities of prompts (`echo` with `logprobs`) on transformers: those of the model itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from runtime.engines.transformers import scoring

from .serving import Server, serve
from .tiny import save_tiny_codegen, save_tiny_llama

TEXT = "The quick brown fox jumps over the lazy dog, and then again. "
ASK: dict[str, Any] = {"model": "m", "prompt": TEXT, "temperature": 0, "echo": True, "logprobs": 3}


def expected(folder: Path) -> torch.Tensor:
    """After each token of the text; shape [tokens, vocabulary]."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    ids = AutoTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        return torch.log_softmax(model(input_ids=ids).logits[0], dim=-1)


async def check(server: Server, logprobs: torch.Tensor, **changes: Any) -> None:
    answer = await server.openai.completions.create(**(ASK | changes))
    tokens: Any = (await server.post("/v1/tokenize", {"model": "m", "prompt": TEXT}))[1]["tokens"]
    made = answer.choices[0].logprobs
    assert made is not None
    assert made.tokens is not None
    assert made.token_logprobs is not None
    assert made.top_logprobs is not None
    assert made.token_logprobs[0] is made.top_logprobs[0] is None
    assert made.tokens[0] == "<|begin|>"
    assert "".join(made.tokens[1:]) == answer.choices[0].text
    assert made.text_offset == [0, *range(len(made.tokens) - 1)]  # the first is not in the text
    own = [float(logprobs[n, token]) for n, token in enumerate(tokens[1:])]
    assert made.token_logprobs[1 : len(tokens)] == pytest.approx(own, abs=1e-4)
    likeliest = [float(each) for each in logprobs[: len(own)].max(dim=-1).values]
    assert [max(each.values()) for each in made.top_logprobs[1 : len(tokens)]] == pytest.approx(
        likeliest, abs=1e-4
    )
    assert answer.usage is not None
    assert len(made.tokens) - len(tokens) == answer.usage.completion_tokens // len(answer.choices)


async def test_in_parts_and_beside_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step's logits bound how much of such a prompt it reads."""
    monkeypatch.setattr(scoring, "_STEP_BYTES", 0)  # then 16 tokens
    logprobs = expected(save_tiny_llama(tmp_path))
    async with serve("--backend=huggingface", f"--model_id={tmp_path}") as server:
        other = await server.openai.completions.create(
            model="m", prompt="Hi", max_tokens=200, stream=True, extra_body={"ignore_eos": True}
        )
        parts: list[int] = []
        batching: Any = server.engine._worker._batching  # type: ignore[attr-defined]
        step = batching.step
        batching.step = lambda work: parts.extend(len(part) for _, part in work) or step(work)
        await check(server, logprobs, max_tokens=0)
        assert [count for count in parts if count > 1] == [16, 16, 16, 14]
        await other.close()
        await check(server, logprobs, max_tokens=2)
        await check(server, logprobs, max_tokens=1, prompt=[TEXT, "x"], n=2)
        assert server.service.admission.waiting_tokens == 0


async def test_a_scored_prompt_counts_as_waiting_until_its_answer_ends(tmp_path: Path) -> None:
    """As its log probabilities are kept until then."""
    folder = save_tiny_llama(tmp_path)
    async with serve("--backend=huggingface", f"--model_id={folder}") as server:
        endless = {"max_tokens": 180, "stream": True, "extra_body": {"ignore_eos": True}}
        waiting = []
        for ask in (ASK, {**ASK, "logprobs": None}):
            stream = await server.openai.completions.create(**ask, **endless)
            assert (await anext(aiter(stream))).choices[0].text.startswith(TEXT)
            waiting.append(server.service.admission.waiting_tokens)
            await stream.close()
            while server.service.admission.sequences:
                await asyncio.sleep(0)
        assert waiting == [len(TEXT) + 1, 0]
        assert server.service.admission.waiting_tokens == 0


async def test_a_model_that_reads_prompts_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logprobs = expected(save_tiny_codegen(tmp_path))
    async with serve("--backend=huggingface", f"--model_id={tmp_path}") as server:
        await check(server, logprobs, max_tokens=2)
        await check(server, logprobs, max_tokens=0)
        monkeypatch.setattr(scoring, "_WHOLE_BYTES", len(TEXT) * 4 * server.service.limits.vocab_size)
        with pytest.raises(openai.BadRequestError, match=f"for {len(TEXT)} tokens") as refused:
            await check(server, logprobs, max_tokens=0)
        assert refused.value.param == "logprobs"
