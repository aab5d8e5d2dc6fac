"""The real SmolLM2 on the transformers backend."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch

from runtime.engines.base import ModelFiles
from runtime.engines.transformers.engine import TransformersEngine

from .serving import Server, serve

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

PROMPTS = ["Write a poem about colors", "The capital of France is", "1, 2, 3, 4,"]


@pytest.fixture(scope="module")
def reference(smollm2: Path) -> tuple[object, object]:
    """The library's own model and tokenizer, in float32."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(smollm2)


@pytest.fixture
async def server(smollm2: Path) -> AsyncIterator[Server]:
    engine = TransformersEngine(ModelFiles(smollm2, smollm2), dtype="float32", max_num_seqs=4)
    async with serve(engine=engine) as running:
        yield running


async def test_it_answers_as_the_library_does(server: Server, reference: tuple[object, object]) -> None:
    model, tokenizer = reference
    expected = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        made = model.generate(ids, do_sample=False, max_new_tokens=16)[0, ids.shape[1] :]
        expected.append((len(ids[0]), tokenizer.decode(made, skip_special_tokens=True)))

    async def ask(prompt: str) -> tuple[int, str]:
        answer = await server.openai.completions.create(
            model="m", prompt=prompt, max_tokens=16, temperature=0
        )
        assert answer.usage is not None
        return answer.usage.prompt_tokens, answer.choices[0].text

    assert await ask(PROMPTS[0]) == expected[0]
    assert await asyncio.gather(*map(ask, PROMPTS)) == expected


async def test_chats_use_the_template(server: Server, reference: tuple[object, object]) -> None:
    _, tokenizer = reference
    messages = [
        {"role": "system", "content": "You are an assistant that speaks like Shakespeare."},
        {"role": "user", "content": "Write a poem about colors"},
    ]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    stream = await server.openai.chat.completions.create(
        model="m",
        messages=messages,  # type: ignore[arg-type]
        max_tokens=20,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == len(ids)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert len(text.split()) > 5
    assert "<|im_" not in text


async def test_schemas_are_enforced_beside_free_answers(server: Server) -> None:
    """Each row of the batch keeps to its own grammar, sampled as well as greedy."""
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "green"]}, "shades": {"type": "array", "maxItems": 2}},
        "required": ["colour"],
    }

    async def ask(schema: dict[str, object] | None, seed: int) -> str:
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        answer = await server.openai.completions.create(
            model="m",
            prompt="Once upon a time",
            max_tokens=40,
            temperature=1.0,
            seed=seed,
            extra_body={"response_format": form} if schema else {},
        )
        return answer.choices[0].text

    free, *kept = await asyncio.gather(ask(None, 1), ask(schema, 1), ask({"type": "object"}, 2))
    with pytest.raises(ValueError, match=r"."):
        json.loads(free)
    assert kept[0].startswith("{")
    assert json.loads(kept[0])["colour"] in ("red", "green")
    assert kept[1].startswith("{")


async def test_stop_strings_across_tokens(server: Server) -> None:
    whole = await server.openai.completions.create(model="m", prompt=PROMPTS[2], max_tokens=24, temperature=0)
    text = whole.choices[0].text
    assert " 7, 8" in text
    cut = await server.openai.completions.create(
        model="m", prompt=PROMPTS[2], max_tokens=24, temperature=0, stop=[", 8, 9"]
    )
    assert (cut.choices[0].text, cut.choices[0].finish_reason) == (text.split(", 8, 9")[0], "stop")
