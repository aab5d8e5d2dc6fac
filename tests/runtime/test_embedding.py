"""Embeddings of real classes with random weights, as the library itself computes them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest
import torch

from runtime.engines.base import ModelFiles
from runtime.engines.transformers.embedding import EmbeddingEngine
from runtime.failures import Failure

from .serving import serve
from .tiny import llama3_style_tokenizer, save_tiny_llama

TEXTS = ["a", "the quick brown fox", "Grüße", "x" * 100]


def save_tiny_bert(folder: Path) -> Path:
    from transformers import BertConfig, BertModel

    torch.manual_seed(5)
    tokenizer = llama3_style_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,  # vLLM's kernels for processors want heads of 32 at least
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        architectures=["BertModel"],
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def expected(folder: Path, text: str, pooling: str) -> list[float]:
    """One text alone, straight through the library."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    ids = llama3_style_tokenizer()(text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        states = model(input_ids=ids).last_hidden_state[0]
    vector = {"mean": states.mean(0), "cls": states[0], "lasttoken": states[-1]}[pooling]
    made: list[float] = (vector / vector.norm()).tolist()
    return made


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
async def test_vectors_are_the_librarys(tmp_path: Path, pooling: str) -> None:
    # The decoder has no file that says so.
    folder = save_tiny_llama(tmp_path) if pooling == "lasttoken" else save_tiny_bert(tmp_path)
    if pooling == "cls":
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    engine = EmbeddingEngine(ModelFiles(folder, folder), dtype="float32", max_num_seqs=3)
    async with serve(engine=engine) as server:
        create: Any = server.openai.embeddings.create
        together = await create(model="m", input=TEXTS)
        alone = await asyncio.gather(*(create(model="m", input=text) for text in TEXTS))
        for text, batched, single in zip(TEXTS, together.data, alone, strict=True):
            want = expected(folder, text, pooling)
            assert batched.embedding == pytest.approx(want, abs=1e-5)
            assert single.data[0].embedding == pytest.approx(want, abs=1e-5)
        assert together.usage.prompt_tokens == sum(each.usage.prompt_tokens for each in alone)
        with pytest.raises(openai.BadRequestError, match="maximum context length"):
            await create(model="m", input="x" * (128 if pooling != "lasttoken" else 256))
        with pytest.raises(openai.BadRequestError, match="embeddings endpoint"):
            await server.openai.completions.create(model="m", prompt="x")
        assert engine.load().running + engine.load().waiting == 0


async def test_one_that_leaves_takes_its_work_back(tmp_path: Path) -> None:
    folder = save_tiny_bert(tmp_path)
    engine = EmbeddingEngine(ModelFiles(folder, folder))
    async with serve(engine=engine) as server:
        server.service.engine  # noqa: B018 - it is loaded
        asking = [asyncio.create_task(engine.embed(str(n), [[1] * 50] * 40)) for n in range(20)]
        await asyncio.sleep(0)
        assert engine.load().waiting > 0
        for task in asking[1:]:
            task.cancel()
        assert len(await asking[0]) == 40
        await asyncio.gather(*asking, return_exceptions=True)
        assert engine.load().waiting == 0


async def test_what_the_model_cannot_take_or_answer_is_one_requests_trouble(tmp_path: Path) -> None:
    folder = save_tiny_bert(tmp_path)
    tokenizer = llama3_style_tokenizer()
    tokenizer.add_tokens(["<added>"])  # to the tokenizer alone
    tokenizer.save_pretrained(folder)
    engine = EmbeddingEngine(ModelFiles(folder, folder))
    async with serve(engine=engine) as server:
        assert server.service.facts.on_cpu is not torch.cuda.is_available()
        create: Any = server.openai.embeddings.create
        with pytest.raises(openai.BadRequestError, match="added to the tokenizer and not to the model"):
            await create(model="m", input=["fine", "an <added> one"])
        assert (await create(model="m", input="fine")).data
        with torch.no_grad():
            engine._model.embeddings.word_embeddings.weight[tokenizer.convert_tokens_to_ids("!")] = torch.nan
        with pytest.raises(openai.InternalServerError):
            await create(model="m", input="!")
        assert (await create(model="m", input="fine")).data
        assert engine.problem() is None


def test_an_unknown_pooling_is_refused(tmp_path: Path) -> None:
    folder = save_tiny_bert(tmp_path)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    engine = EmbeddingEngine(ModelFiles(folder, folder))
    with pytest.raises(Failure, match="pooling other than"):
        engine._load()
