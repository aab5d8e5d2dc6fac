"""Prompts on a model with a Llama-3-style tokenizer: counted as the tokenizer counts, never begun twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.engines.base import ModelFiles
from runtime.engines.transformers.engine import TransformersEngine

from .serving import serve
from .tiny import llama3_style_tokenizer, save_tiny_llama

CHATS: list[list[Any]] = [
    [{"role": "user", "content": "Hi"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " Grüße, 你好 👋 "}],
    [
        {"role": "user", "content": "<|begin|>once more"},
        {"role": "assistant", "content": "What?"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ],
]


@pytest.mark.timeout(120)
async def test_prompts_begin_once_and_are_counted_as_the_tokenizer_does(tmp_path: Path) -> None:
    folder = save_tiny_llama(tmp_path)
    tokenizer = llama3_style_tokenizer()
    begin = tokenizer.bos_token_id
    async with serve(engine=TransformersEngine(ModelFiles(folder, folder), dtype="float32")) as server:
        for prompt in ("Hi", "", "Grüße, 你好 👋"):
            _, told = await server.post("/v1/tokenize", {"model": "m", "prompt": prompt})
            answer = await server.openai.completions.create(model="m", prompt=prompt or [begin], max_tokens=1)
            assert answer.usage is not None
            expected = tokenizer(prompt)["input_ids"]
            assert answer.usage.prompt_tokens == len(expected)
            assert expected.count(begin) == 1
            if prompt:
                assert told["tokens"] == expected
        for chat in CHATS:
            _, told = await server.post("/v1/tokenize", {"model": "m", "messages": chat})
            made = await server.openai.chat.completions.create(model="m", messages=chat, max_tokens=1)
            plain = [
                {**each, "content": each["content"] if isinstance(each["content"], str) else "a\nb"}
                for each in chat
            ]
            expected = tokenizer.apply_chat_template(plain, add_generation_prompt=True)["input_ids"]
            assert told["tokens"] == expected
            assert made.usage is not None
            assert made.usage.prompt_tokens == len(expected)
            # The first token is the template's own, and no other was put before it.
            assert expected[0] == begin
            assert expected[1] != begin
