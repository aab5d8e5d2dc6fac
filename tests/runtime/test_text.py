"""Tokens and text, with tokenizers of the transformers library."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as TokenizersTokenizer
from tokenizers import decoders, models
from transformers import PreTrainedTokenizerFast

from runtime.text.bytes_tokenizer import END, BytesTokenizer
from runtime.text.templates.renderer import PromptError
from runtime.text.tokenizer import HubTokenizer, Tokenizer

from .tiny import llama3_style_tokenizer

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def llama3() -> HubTokenizer:
    tokenizer = llama3_style_tokenizer()
    return HubTokenizer(tokenizer, vocab_size=len(tokenizer))


def spoken(tokenizer: Tokenizer, pieces: list[list[int]]) -> list[str]:
    stream = tokenizer.stream()
    return [*(stream.push(piece) for piece in pieces), stream.flush()]


pieces = st.lists(st.lists(st.integers(0, 259), max_size=4), max_size=20)


@given(pieces=pieces)
@settings(deadline=None)
def test_increments_make_up_the_whole_text(llama3: HubTokenizer, pieces: list[list[int]]) -> None:
    """Any tokens at all: broken characters, special tokens, several tokens at once."""
    assert "".join(spoken(llama3, pieces)) == llama3.decode([token for piece in pieces for token in piece])


@given(text=st.text(max_size=40))
@settings(deadline=None)
def test_characters_come_whole(llama3: HubTokenizer, text: str) -> None:
    ids = llama3.encode(text)[1:]
    said = spoken(llama3, [[token] for token in ids])
    assert "".join(said) == text
    if "\N{REPLACEMENT CHARACTER}" not in text:
        assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in said)


@given(text=st.text(max_size=40))
def test_bytes_come_as_characters(text: str) -> None:
    tokenizer = BytesTokenizer()
    said = spoken(tokenizer, [[token] for token in tokenizer.encode(text)])
    assert "".join(said) == text


@given(text=st.text(max_size=40))
@settings(deadline=None)
def test_tokens_bytes_join(llama3: HubTokenizer, text: str) -> None:
    """Of every character, however many tokens it is spread over; whichever way a vocabulary spells bytes."""
    for tokenizer in (llama3, with_bytes_beside_pieces(), BytesTokenizer()):
        tokens = tokenizer.encode(text)
        begin = tokenizer.encode("")
        assert b"".join(map(tokenizer.token_bytes, tokens[len(begin) :])) == text.encode()


@cache
def with_bytes_beside_pieces() -> HubTokenizer:
    """Some characters are pieces, and bytes stand in for all others, as in SentencePiece's models."""
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)} | {"a": 256, "é": 257, "<unk>": 258}
    model = models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    inner = TokenizersTokenizer(model)
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, clean_up_tokenization_spaces=False)
    return HubTokenizer(tokenizer, vocab_size=259)


def test_special_tokens_are_silent_and_cost_nothing(llama3: HubTokenizer) -> None:
    begin = llama3.encode("")[0]
    stream = llama3.stream()
    assert stream.push(llama3.encode("a")[1:]) == "a"
    assert [stream.push([begin]) for _ in range(500)] == [""] * 500
    assert len(stream._ids) < 50
    assert stream.push(llama3.encode("b")[1:]) == "b"
    assert BytesTokenizer().stream().push([END]) == ""


def test_a_completion_has_one_beginning_of_text(llama3: HubTokenizer) -> None:
    begin = llama3.encode("")
    assert len(begin) == 1
    assert llama3.encode("Hi").count(begin[0]) == 1
    assert len(llama3.encode("Hi")) == 3


def test_a_chat_has_one_beginning_of_text_too(llama3: HubTokenizer) -> None:
    text = str(llama3.inner.apply_chat_template(HI, tokenize=False, add_generation_prompt=True))
    assert text.startswith("<|begin|>")
    ids = llama3.encode_rendered(text)
    begin = llama3.encode("")[0]
    assert ids.count(begin) == 1
    text = "".join(llama3.token_text(token) for token in ids)
    assert text == (
        "<|begin|><|start|>user<|end_of_header|>\n\nHi<|eot|><|start|>assistant<|end_of_header|>\n\n"
    )


def test_which_template_is_used() -> None:
    tokenizer = llama3_style_tokenizer()
    asked = HubTokenizer(tokenizer, vocab_size=1, chat_template="given").chat
    assert asked is not None
    assert (asked.text, asked.with_tools) == ("given", "given")
    assert asked.variables == {"bos_token": "<|begin|>", "eos_token": "<|eot|>"}
    tokenizer.chat_template = {"default": "plain", "tool_use": "with tools", "rag": "another"}
    asked = HubTokenizer(tokenizer, vocab_size=1).chat
    assert asked is not None
    assert (asked.text, asked.with_tools) == ("plain", "with tools")


def test_a_model_without_a_template() -> None:
    tokenizer = llama3_style_tokenizer()
    tokenizer.chat_template = None
    without = HubTokenizer(tokenizer, vocab_size=1)
    assert (without.chat, without.template) == (None, None)
    with pytest.raises(PromptError, match="has no chat template: use the completions endpoint"):
        without.encode_chat(HI)
