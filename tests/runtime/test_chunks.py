"""Chunks with a prepared envelope are the JSON of the whole object, whatever their text holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtime.engines.base import FinishReason, TokenLogprob
from runtime.openai.answers import Piece
from runtime.openai.envelope import Heading
from runtime.openai.responses import ChatShape, CompletionShape
from runtime.text.bytes_tokenizer import BytesTokenizer

# Everything that JSON escapes or that line-based readers may trip over, half surrogate pairs too.
_NASTY = st.sampled_from(
    [
        *'"\\\n\r\x00\x1f\x7f\u2028\u2029\x85\ud800\udfff',
        *("👋", "</script>", "data: ", "[]"),
    ]
)
TEXT = st.lists(st.one_of(_NASTY, st.text(st.characters(codec=None)))).map("".join)
NAMES = st.one_of(st.just("m"), st.sampled_from(['a"b', 'x\\"', "[]", '"text":', "ü/\u2028", "{}"]))


def whole(document: dict[str, Any]) -> bytes:
    """An object as an event, made in one piece by the standard library."""
    made = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    made = made.replace("\x85", "\\u0085").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return b"data: " + made.encode("utf-8", "backslashreplace") + b"\n\n"


def heading(model: str) -> Heading:
    return Heading("cmpl-0", model, created=1)


@given(TEXT, NAMES, st.booleans(), st.integers(0, 1), st.sampled_from([None, *FinishReason]))
@example('"', 'a"\\""b', False, 0, None)
def test_completions(
    text: str, model: str, include_usage: bool, index: int, finish: FinishReason | None
) -> None:
    shape = CompletionShape(heading(model), BytesTokenizer(), logprobs=None)
    chunks = shape.stream(2, include_usage=include_usage)
    choice = {"index": index, "text": text, "logprobs": None, "finish_reason": finish}
    expected: dict[str, Any] = heading(model).document("text_completion", [choice])
    if include_usage:
        expected["usage"] = None
    made = chunks.piece(Piece(index, text, 1, finish, ()))
    assert made == (whole(expected) if text or finish else b"")
    assert len(made.decode().splitlines()) == (2 if made else 0)  # one event, whoever reads lines


@given(TEXT, NAMES, st.booleans(), st.integers(0, 1), st.sampled_from([None, *FinishReason]))
def test_chats(text: str, model: str, include_usage: bool, index: int, finish: FinishReason | None) -> None:
    chunks = ChatShape(heading(model), BytesTokenizer(), logprobs=None).stream(2, include_usage=include_usage)
    expected = b""
    for delta, reason in (({"content": text}, None), ({}, finish)):
        if delta.get("content") or reason:
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
            document: dict[str, Any] = heading(model).document("chat.completion.chunk", [choice])
            expected += whole(document | ({"usage": None} if include_usage else {}))
    assert chunks.piece(Piece(index, text, 1, finish, ())) == expected


def test_offsets_are_of_tokens_where_their_text_is_held_back() -> None:
    """A stop string's beginning: its tokens are told with the step that made them, its text later."""
    shape = CompletionShape(heading("m"), BytesTokenizer(), logprobs=1)
    chunks = shape.stream(1, include_usage=False)
    steps = [("a", "a"), ("b", ""), ("c", ""), ("d", "bcd")]
    scores = [TokenLogprob(ord(token), -1.0, ()) for token, _ in steps]
    pieces = [Piece(0, text, 1, None, (score,)) for score, (_, text) in zip(scores, steps, strict=True)]
    made = [chunks.piece(each) for each in pieces]
    choices = [json.loads(each.decode().removeprefix("data: "))["choices"][0] for each in made]
    assert [each["logprobs"]["text_offset"] for each in choices] == [[0], [1], [2], [3]]
    assert "".join(each["text"] for each in choices) == "abcd"


@pytest.mark.parametrize("text", ["\ud800", 'quo"te\u2028', "\x00\\"])
def test_they_are_json_again(text: str) -> None:
    """What a client reads is what was written, and every chunk is good UTF-8."""
    shape = CompletionShape(heading("m"), BytesTokenizer(), logprobs=None)
    made = shape.stream(1, include_usage=False).piece(Piece(0, text, 1, None, ())).decode()
    assert json.loads(made.removeprefix("data: "))["choices"][0]["text"] == text
