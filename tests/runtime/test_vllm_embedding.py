"""Embeddings on vLLM: those of transformers, through the whole program."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest

from .test_embedding import TEXTS, expected, save_tiny_bert
from .test_vllm import kill, start, until_ready
from .tiny import llama3_style_tokenizer

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


def test_vectors_are_those_of_the_library(tmp_path: Path) -> None:
    model = save_tiny_bert(tmp_path / "model")
    tokenizer = llama3_style_tokenizer()
    tokenizer.add_tokens(["<added>"])  # to the tokenizer alone
    tokenizer.save_pretrained(model)
    process = start(tmp_path / "run", "--task=text_embedding", model=str(model))
    try:
        until_ready(process)
        assert process.state()["backend"] == {
            "name": "vllm",
            "reason": "Default",
            "message": "vLLM serves this model",
        }
        create: Any = process.openai.embeddings.create
        together = create(model="smollm2", input=TEXTS)
        for text, got in zip(TEXTS, together.data, strict=True):
            assert got.embedding == pytest.approx(expected(model, text, "mean"), abs=1e-3)
        alone = [create(model="smollm2", input=text).usage.prompt_tokens for text in TEXTS]
        assert together.usage.prompt_tokens == sum(alone)
        with pytest.raises(openai.BadRequestError, match="maximum context length"):
            create(model="smollm2", input="x" * 128)
        with pytest.raises(openai.BadRequestError, match="added to the tokenizer and not to the model"):
            create(model="smollm2", input="an <added> one")
        with pytest.raises(openai.BadRequestError, match="embeddings endpoint"):
            process.openai.completions.create(model="smollm2", prompt="x")
        asyncio.run(_leave(process.url))
        assert create(model="smollm2", input="still here").data[0].index == 0
    finally:
        kill(process)  # how it ends in order is test_vllm's to show; vLLM takes 5 s for it


async def _leave(url: str) -> None:
    """Forty clients that are gone before their vectors come."""
    client = openai.AsyncOpenAI(base_url=f"{url}/openai/v1", api_key="none", max_retries=0)
    asking = [
        asyncio.create_task(client.embeddings.create(model="smollm2", input=["x" * 100] * 16))
        for _ in range(40)
    ]
    await asyncio.sleep(0)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    await client.close()
