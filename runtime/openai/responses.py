"""Answers in OpenAI's shapes: whole objects, and chunks of a stream with their envelope made once.

A chunk is written for every step of every stream, so that only its text is encoded each time.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.engines.base import TokenLogprob
from runtime.openai.answers import Piece
from runtime.text.tokenizer import Tokenizer

DONE = b"data: [DONE]\n\n"


def encode(document: Any) -> bytes:
    """Compact JSON as UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


_text = json.JSONEncoder(ensure_ascii=False).encode


@dataclass
class Usage:
    """Tokens of a request: each prompt counted once, every generated token of every choice."""

    prompt_tokens: int
    completion_tokens: int = 0

    def document(self) -> dict[str, int]:
        """OpenAI's usage object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


@dataclass(frozen=True)
class Heading:
    """What all objects of one answer share."""

    id: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def completion(cls, model: str) -> Heading:
        """A new text completion."""
        return cls("cmpl-" + uuid.uuid4().hex, model)

    @classmethod
    def chat(cls, model: str) -> Heading:
        """A new chat completion."""
        return cls("chatcmpl-" + uuid.uuid4().hex, model)

    def document(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """The object around some choices."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": None,
            "choices": choices,
        }


@dataclass
class Choice:
    """One choice of an answer that is not streamed, as it grows."""

    text: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str | None = None

    def add(self, piece: Piece) -> None:
        """Appends what a step added."""
        self.text.append(piece.text)
        self.logprobs.extend(piece.logprobs)
        if piece.finish_reason:
            self.finish_reason = piece.finish_reason.value


class CompletionShape:
    """Text completions."""

    kind = chunk_kind = "text_completion"

    def __init__(self, heading: Heading, tokenizer: Tokenizer, *, logprobs: int | None) -> None:
        self.heading = heading
        self._tokenizer = tokenizer
        self._logprobs = logprobs

    def whole(self, choices: Sequence[Choice], usage: Usage) -> dict[str, Any]:
        """The answer that is not streamed."""
        made = [
            {
                "index": index,
                "text": "".join(choice.text),
                "logprobs": self._probabilities(choice.logprobs, 0),
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(choices)
        ]
        return {**self.heading.document(self.kind, made), "usage": usage.document()}

    def stream(self, choices: int, *, include_usage: bool) -> CompletionChunks:
        """The writer of a stream."""
        return CompletionChunks(self, choices, include_usage=include_usage)

    def _probabilities(self, logprobs: Sequence[TokenLogprob], offset: int) -> dict[str, Any] | None:
        if self._logprobs is None:
            return None
        tokens, offsets = [], []
        for each in logprobs:
            token = self._tokenizer.token_text(each.token_id)
            tokens.append(token)
            offsets.append(offset)
            offset += len(token)
        top = [{self._tokenizer.token_text(token): value for token, value in each.top} for each in logprobs]
        return {
            "tokens": tokens,
            "token_logprobs": [each.logprob for each in logprobs],
            "top_logprobs": top if self._logprobs else None,
            "text_offset": offsets,
        }


class ChatShape:
    """Chat completions."""

    kind, chunk_kind = "chat.completion", "chat.completion.chunk"

    def __init__(self, heading: Heading, tokenizer: Tokenizer, *, logprobs: int | None) -> None:
        self.heading = heading
        self._tokenizer = tokenizer
        self._logprobs = logprobs

    def whole(self, choices: Sequence[Choice], usage: Usage) -> dict[str, Any]:
        """The answer that is not streamed."""
        made = [
            {
                "index": index,
                "message": {
                    "role": "assistant",
                    "content": "".join(choice.text),
                    "tool_calls": None,
                    "function_call": None,
                },
                "logprobs": self._probabilities(choice.logprobs),
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(choices)
        ]
        return {**self.heading.document(self.kind, made), "usage": usage.document()}

    def stream(self, choices: int, *, include_usage: bool) -> ChatChunks:
        """The writer of a stream."""
        return ChatChunks(self, choices, include_usage=include_usage)

    def _probabilities(self, logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if self._logprobs is None:
            return None
        content = [
            {
                **self._token(each.token_id, each.logprob),
                "top_logprobs": [self._token(token, value) for token, value in each.top],
            }
            for each in logprobs
        ]
        return {"content": content, "refusal": None}

    def _token(self, token_id: int, logprob: float) -> dict[str, Any]:
        text = self._tokenizer.token_text(token_id)
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


class _Chunks:
    """Chunks of one stream as bytes of server-sent events."""

    def __init__(self, shape: CompletionShape | ChatShape, choices: int, *, include_usage: bool) -> None:
        self._shape: Any = shape
        self._include_usage = include_usage
        self._offsets = [0] * choices
        blank = shape.heading.document(shape.chunk_kind, [])
        start, end = json.dumps(blank, ensure_ascii=False, separators=(",", ":")).rsplit("[]", 1)
        self._start = f"data: {start}["
        # OpenAI sends `usage` in chunks only where it was asked for, and null until the last.
        self._end = "]" + (',"usage":null' if include_usage else "") + end + "\n\n"

    def usage(self, usage: Usage) -> bytes:
        """The chunk with the usage, where it was asked for."""
        if not self._include_usage:
            return b""
        document = {**self._shape.heading.document(self._shape.chunk_kind, []), "usage": usage.document()}
        return b"data: " + encode(document) + b"\n\n"

    def _event(self, choice: str) -> str:
        return f"{self._start}{choice}{self._end}"


class CompletionChunks(_Chunks):
    """A streamed text completion."""

    def opening(self, index: int, text: str = "") -> bytes:
        """What comes before the first token: the prompt, where it is echoed."""
        return self._chunk(index, text, "null", "null").encode() if text else b""

    def piece(self, piece: Piece) -> bytes:
        """What one step added; empty where nothing is to be said yet."""
        if not piece.text and not piece.finish_reason and not piece.logprobs:
            return b""
        logprobs = "null"
        if piece.logprobs:
            offset = self._offsets[piece.index]
            logprobs = encode(self._shape._probabilities(piece.logprobs, offset)).decode()
            self._offsets[piece.index] += len(piece.text)
        finish = f'"{piece.finish_reason.value}"' if piece.finish_reason else "null"
        return self._chunk(piece.index, piece.text, logprobs, finish).encode()

    def _chunk(self, index: int, text: str, logprobs: str, finish: str) -> str:
        return self._event(
            f'{{"index":{index},"text":{_text(text)},"logprobs":{logprobs},"finish_reason":{finish}}}'
        )


class ChatChunks(_Chunks):
    """A streamed chat completion: the role once, then content, then the finish_reason alone."""

    def opening(self, index: int, text: str = "") -> bytes:
        """The chunk with the role."""
        return self._chunk(index, '"role":"assistant","content":""', "null", "null").encode()

    def piece(self, piece: Piece) -> bytes:
        """What one step added; empty where nothing is to be said yet."""
        made = ""
        if piece.text or piece.logprobs:
            logprobs = "null"
            if piece.logprobs:
                logprobs = encode(self._shape._probabilities(piece.logprobs)).decode()
            made = self._chunk(piece.index, f'"content":{_text(piece.text)}', logprobs, "null")
        if piece.finish_reason:
            made += self._chunk(piece.index, "", "null", f'"{piece.finish_reason.value}"')
        return made.encode()

    def _chunk(self, index: int, delta: str, logprobs: str, finish: str) -> str:
        return self._event(
            f'{{"index":{index},"delta":{{{delta}}},"logprobs":{logprobs},"finish_reason":{finish}}}'
        )
