"""Chunks of a stream: their envelope is made once.

A chunk is written for every step of every stream, so that only its text is encoded each time: what stands
before and behind the text of an ordinary chunk (no logprobs, no end) is kept for each choice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from runtime.openai.answers import Piece
from runtime.openai.encoding import encode, utf8
from runtime.openai.encoding import text as text_
from runtime.openai.envelope import Usage
from runtime.openai.tools.answer import finish_reason
from runtime.openai.tools.calls import Arguments, Call, Event, Finder
from runtime.openai.tools.offer import Offer

DONE = b"data: [DONE]\n\n"


class Chunks(ABC):
    """Chunks of one stream as bytes of server-sent events."""

    def __init__(
        self,
        blank: dict[str, Any],
        probabilities: Callable[..., Any],
        choices: int,
        *,
        include_usage: bool,
    ) -> None:
        """`blank`: a chunk without choices. `probabilities`: makes OpenAI's object of tokens' logprobs."""
        self._blank = blank
        self._probabilities = probabilities
        self._include_usage = include_usage
        start, end = encode(blank).decode().rsplit("[]", 1)
        self._start = f"data: {start}["
        # OpenAI sends `usage` in chunks only where it was asked for, and null until the last.
        self._end = "]" + (',"usage":null' if include_usage else "") + end + "\n\n"
        self._around = [(self._start + self._before(n), self._behind + self._end) for n in range(choices)]

    @abstractmethod
    def opening(self, index: int) -> bytes:
        """What comes before the first token of a choice."""

    @abstractmethod
    def piece(self, piece: Piece) -> bytes:
        """What one step added; empty where nothing is to be said yet."""

    _behind: str
    """What follows the text of an ordinary chunk, within its choice."""

    @abstractmethod
    def _before(self, index: int) -> str:
        """What precedes it."""

    def _ordinary(self, index: int, text: str) -> bytes:
        """A chunk with nothing but text: what is written for almost every token."""
        before, behind = self._around[index]
        return utf8(f"{before}{text_(text)}{behind}")

    def usage(self, usage: Usage) -> bytes:
        """The chunk with the usage, where it was asked for."""
        if not self._include_usage:
            return b""
        document = {**self._blank, "usage": usage.document()}
        return b"data: " + encode(document) + b"\n\n"

    def _event(self, choice: str) -> str:
        return f"{self._start}{choice}{self._end}"


class CompletionChunks(Chunks):
    """A streamed text completion. `token_length`: how many characters a token adds."""

    def __init__(
        self,
        blank: dict[str, Any],
        probabilities: Callable[..., Any],
        choices: int,
        *,
        include_usage: bool,
        token_length: Callable[[int], int],
    ) -> None:
        super().__init__(blank, probabilities, choices, include_usage=include_usage)
        self._offsets = [0] * choices
        self._token_length = token_length

    _behind = ',"logprobs":null,"finish_reason":null}'

    def opening(self, index: int) -> bytes:
        """Nothing."""
        return b""

    def piece(self, piece: Piece) -> bytes:
        """What one step added; empty where nothing is to be said yet."""
        if piece.finish_reason is None and not piece.logprobs:
            return self._ordinary(piece.index, piece.text) if piece.text else b""
        logprobs = "null"
        if piece.logprobs:
            offset = self._offsets[piece.index]
            logprobs = encode(self._probabilities(piece.logprobs, offset)).decode()
            # Not the text's length: a part of it may be held back, where a stop string or a character begins.
            self._offsets[piece.index] += sum(self._token_length(each.token_id) for each in piece.logprobs)
        finish = f'"{piece.finish_reason.value}"' if piece.finish_reason else "null"
        return utf8(self._chunk(piece.index, piece.text, logprobs, finish))

    def _before(self, index: int) -> str:
        return f'{{"index":{index},"text":'

    def _chunk(self, index: int, text: str, logprobs: str, finish: str) -> str:
        return self._event(
            f'{{"index":{index},"text":{text_(text)},"logprobs":{logprobs},"finish_reason":{finish}}}'
        )


class ChatChunks(Chunks):
    """A streamed chat completion: the role once, then content, then the finish_reason alone."""

    _behind = '},"logprobs":null,"finish_reason":null}'
    _no_content = '""'

    def opening(self, index: int) -> bytes:
        """The chunk with the role."""
        return utf8(self._chunk(index, f'"role":"assistant","content":{self._no_content}', "null", "null"))

    def piece(self, piece: Piece) -> bytes:
        """What one step added; empty where nothing is to be said yet."""
        if piece.finish_reason is None and not piece.logprobs:
            return self._ordinary(piece.index, piece.text) if piece.text else b""
        made = ""
        if piece.text or piece.logprobs:
            logprobs = "null"
            if piece.logprobs:
                logprobs = encode(self._probabilities(piece.logprobs)).decode()
            made = self._chunk(piece.index, f'"content":{text_(piece.text)}', logprobs, "null")
        if piece.finish_reason:
            made += self._chunk(piece.index, "", "null", f'"{piece.finish_reason.value}"')
        return utf8(made)

    def _before(self, index: int) -> str:
        return f'{{"index":{index},"delta":{{"content":'

    def _chunk(self, index: int, delta: str, logprobs: str, finish: str) -> str:
        return self._event(
            f'{{"index":{index},"delta":{{{delta}}},"logprobs":{logprobs},"finish_reason":{finish}}}'
        )


class CallChunks(ChatChunks):
    """A streamed chat in which tools may be called: text and calls as they become certain."""

    def __init__(
        self,
        offer: Offer,
        blank: dict[str, Any],
        probabilities: Callable[..., Any],
        choices: int,
        *,
        include_usage: bool,
    ) -> None:
        super().__init__(blank, probabilities, choices, include_usage=include_usage)
        self._offer = offer
        if offer.named:  # the answer is a call, and so has no content
            self._no_content = "null"
        self._finders = [Finder(offer.form, offer.names, one=offer.one) for _ in range(choices)]

    def piece(self, piece: Piece) -> bytes:
        """What one step added; empty where nothing is certain yet."""
        finder = self._finders[piece.index]
        events = finder.feed(piece.text)
        if piece.finish_reason:
            events += finder.finish()
        logprobs = "null"
        if piece.logprobs:
            logprobs = encode(self._probabilities(piece.logprobs)).decode()
            events = events or [""]
        made = []
        for event in events:
            made.append(self._chunk(piece.index, _delta(event), logprobs, "null"))
            logprobs = "null"
        if piece.finish_reason:
            reason = finish_reason(self._offer, piece.finish_reason.value, finder.calls > 0)
            made.append(self._chunk(piece.index, "", "null", f'"{reason}"'))
        return utf8("".join(made))


def _delta(event: Event) -> str:
    match event:
        case str():
            return f'"content":{text_(event)}'
        case Call():
            function = f'{{"name":{text_(event.name)},"arguments":""}}'
            return (
                f'"tool_calls":[{{"index":{event.index},"id":"{event.id}","type":"function",'
                f'"function":{function}}}]'
            )
        case Arguments():
            return f'"tool_calls":[{{"index":{event.index},"function":{{"arguments":{text_(event.text)}}}}}]'
