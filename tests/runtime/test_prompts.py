"""Prompts on a model with a Llama-3-style tokenizer: counted as the tokenizer counts, never begun twice."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from runtime.engines.base import EngineRefused, ModelFiles, Sampling
from runtime.engines.transformers.engine import TransformersEngine
from runtime.engines.vllm.engine import VllmEngine
from runtime.flags.parse import parse
from runtime.text.tokenizer import HubTokenizer

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


@pytest.mark.model
@pytest.mark.timeout(120)
async def test_vllm_is_given_the_same_tokens(tmp_path: Path) -> None:
    """Those of vLLM's own copy of the tokenizer, as they are."""
    from vllm.tokenizers import get_tokenizer

    given: list[list[int]] = []

    class Vllm:
        def get_tokenizer(self) -> Any:
            return get_tokenizer(save_tiny_llama(tmp_path))

        async def add_request(self, request_id: str, prompt: Any, params: Any) -> None:
            given.append(prompt["prompt_token_ids"])
            raise EngineRefused("enough")

        async def abort(self, request_id: str) -> None:
            pass

    model = SimpleNamespace(get_vocab_size=lambda: 260)
    engine = VllmEngine(SimpleNamespace(model_config=model), parse(["--model_id=m"]))
    engine._engine = Vllm()
    theirs, ours = engine._tokenizer(), HubTokenizer(llama3_style_tokenizer(), vocab_size=260)
    for text in ("Hi", "", "Grüße, 你好 👋", "<|begin|>once<|eot|> more"):
        prompt = theirs.encode(text)
        assert prompt == ours.encode(text)
        assert theirs.encode_rendered(text) == ours.encode_rendered(text) == prompt[1:]
        with pytest.raises(EngineRefused):
            await engine.push("r", prompt, Sampling(max_tokens=1), lambda delta: True)
        assert given[-1] == prompt


@pytest.mark.timeout(120)
async def test_a_chat_is_as_long_as_its_template_may_make_it(tmp_path: Path) -> None:
    folder = save_tiny_llama(tmp_path)
    chat: Any = [{"role": "user", "content": "x" * 100}]
    template = llama3_style_tokenizer()
    size = len(template.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))
    engine = TransformersEngine(ModelFiles(folder, folder), dtype="float32")
    async with serve(f"--max_template_characters={size}", engine=engine) as server:
        ask = server.openai.chat.completions.create
        assert (await ask(model="m", messages=chat, max_tokens=1)).usage is not None
        chat[0]["content"] += "x"
        with pytest.raises(openai.BadRequestError, match="template") as refused:
            await ask(model="m", messages=chat, max_tokens=1)
        assert refused.value.param == "messages"
