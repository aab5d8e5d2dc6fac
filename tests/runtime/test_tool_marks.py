"""The marks of tool calls are in the text of answers, whatever kind of token a model has for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.engines.base import ModelFiles
from runtime.engines.transformers.engine import TransformersEngine
from runtime.openai.tools.forms import FORMS
from runtime.text.tokenizer import HubTokenizer
from runtime.text.tool_marks import MARKS

from .serving import serve
from .tiny import llama3_style_tokenizer, save_tiny_llama

SPECIAL = {"additional_special_tokens": [*MARKS, "<|other|>"]}


def marked() -> Any:
    tokenizer = llama3_style_tokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def test_marks_stay_and_nothing_else_changes() -> None:
    before, after = marked(), marked()
    hub = HubTokenizer(after, vocab_size=len(after))
    text = 'a <tool_call>\n{"b": 1}\n</tool_call><|other|> c<|eot|>'
    ids = before(text)["input_ids"]
    assert after(text)["input_ids"] == ids
    assert after.get_vocab() == before.get_vocab()
    shown = 'a <tool_call>\n{"b": 1}\n</tool_call> c'
    assert hub.decode(ids) == shown
    stream = hub.stream()
    assert "".join(stream.push([each]) for each in ids) + stream.flush() == shown
    # As vLLM decodes: with the library's own object.
    assert after._tokenizer.decode(ids, skip_special_tokens=True) == shown
    mark = before.convert_tokens_to_ids("<tool_call>")
    assert (hub.token_text(mark), hub.token_length(mark)) == ("<tool_call>", len("<tool_call>"))


def test_a_tokenizer_that_shows_them_is_left_alone() -> None:
    tokenizer = llama3_style_tokenizer()
    inner = tokenizer._tokenizer
    HubTokenizer(tokenizer, vocab_size=len(tokenizer))
    assert tokenizer._tokenizer is inner


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_marks_are_those_of_the_forms(form: Any) -> None:
    assert {form.opening.strip(), form.closing.strip()} - {""} <= set(MARKS)


async def test_an_answer_holds_them(tmp_path: Path) -> None:
    tokenizer = marked()
    folder = save_tiny_llama(tmp_path, vocab_size=len(tokenizer))
    tokenizer.save_pretrained(folder)
    mark = str(tokenizer.convert_tokens_to_ids("<tool_call>"))
    async with serve(engine=TransformersEngine(ModelFiles(folder, folder))) as server:
        answer = await server.openai.completions.create(
            model="m", prompt="x", max_tokens=2, temperature=0, logit_bias={mark: 100}
        )
        assert answer.choices[0].text == "<tool_call>" * 2
