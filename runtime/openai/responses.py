"""Answers in OpenAI's shapes. Chunks of a stream are in `chunks`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.engines.base import TokenLogprob
from runtime.openai.answers import Piece
from runtime.openai.chunks import CallChunks, ChatChunks, CompletionChunks
from runtime.openai.envelope import Heading, Usage
from runtime.openai.tools.answer import finish_reason, found
from runtime.openai.tools.offer import Offer
from runtime.text.tokenizer import Tokenizer

_LEAST = -9999.0  # JSON has no infinity; OpenAI and vLLM say this


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
                "logprobs": self.probabilities(choice.logprobs, 0),
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(choices)
        ]
        return {**self.heading.document(self.kind, made), "usage": usage.document()}

    def stream(self, choices: int, *, include_usage: bool) -> CompletionChunks:
        """The writer of a stream."""
        blank = self.heading.document(self.chunk_kind, [])
        lengths = self._tokenizer.token_length
        return CompletionChunks(
            blank, self.probabilities, choices, include_usage=include_usage, token_length=lengths
        )

    def probabilities(self, logprobs: Sequence[TokenLogprob], offset: int) -> dict[str, Any] | None:
        """OpenAI's object for tokens whose text begins at `offset`."""
        if self._logprobs is None:
            return None
        texts = self._tokenizer
        offsets = []
        for each in logprobs:
            offsets.append(offset)
            offset += texts.token_length(each.token_id)
        return {
            "tokens": [texts.token_text(each.token_id) for each in logprobs],
            "token_logprobs": [_finite(each.logprob) for each in logprobs],
            "top_logprobs": [self._top(each) for each in logprobs] if self._logprobs else None,
            "text_offset": offsets,
        }

    def _top(self, position: TokenLogprob) -> dict[str, float] | None:
        """The most likely tokens in a token's place, and the token itself where it is none of them."""
        if position.logprob is None:
            return None
        text = self._tokenizer.token_text
        made: dict[str, float] = {}
        for token, value in (*position.top, (position.token_id, position.logprob)):
            made.setdefault(text(token), max(value, _LEAST))  # parts of characters may look the same
        return made


class ChatShape:
    """Chat completions."""

    kind, chunk_kind = "chat.completion", "chat.completion.chunk"

    def __init__(
        self,
        heading: Heading,
        tokenizer: Tokenizer,
        *,
        logprobs: int | None,
        offer: Offer | None = None,
    ) -> None:
        self.heading = heading
        self.offer = offer
        self._tokenizer = tokenizer
        self._logprobs = logprobs

    def whole(self, choices: Sequence[Choice], usage: Usage) -> dict[str, Any]:
        """The answer that is not streamed."""
        made = [self._choice(index, choice) for index, choice in enumerate(choices)]
        return {**self.heading.document(self.kind, made), "usage": usage.document()}

    def _choice(self, index: int, choice: Choice) -> dict[str, Any]:
        text, calls = "".join(choice.text), None
        if self.offer is not None:
            text, calls = found(self.offer, text)
        return {
            "index": index,
            "message": {
                "role": "assistant",
                "content": text if text or not calls else None,
                "tool_calls": calls or None,
                "function_call": None,
            },
            "logprobs": self.probabilities(choice.logprobs),
            "finish_reason": finish_reason(self.offer, choice.finish_reason, bool(calls)),
        }

    def stream(self, choices: int, *, include_usage: bool) -> ChatChunks:
        """The writer of a stream."""
        blank = self.heading.document(self.chunk_kind, [])
        if self.offer is not None:
            return CallChunks(self.offer, blank, self.probabilities, choices, include_usage=include_usage)
        return ChatChunks(blank, self.probabilities, choices, include_usage=include_usage)

    def probabilities(self, logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        """OpenAI's object for tokens."""
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

    def _token(self, token_id: int, logprob: float | None) -> dict[str, Any]:
        text, own = self._tokenizer.token_text(token_id), self._tokenizer.token_bytes(token_id)
        return {"token": text, "logprob": _finite(logprob), "bytes": list(own)}


def _finite(logprob: float | None) -> float | None:
    return None if logprob is None else max(logprob, _LEAST)
