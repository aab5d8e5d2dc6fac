"""A tokenizer without files: one token for each byte. For the echo engine."""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence

from runtime.text.templates.renderer import ChatTemplate, PromptError
from runtime.text.tokenizer import Message, Tool

BEGIN, TURN, END = 256, 257, 258
"""Special tokens: begin of text, begin of a chat turn, end of text."""


class BytesTokenizer:
    """Token ids 0 to 255 are UTF-8 bytes; completions begin with BEGIN, chat turns with TURN."""

    vocab_size = 259
    template = "{{ tools }}<tool_call>"
    """Nothing is rendered with it: it says that tools are taken, in the Hermes form."""

    chat: ChatTemplate | None = None

    def encode_rendered(self, text: str) -> list[int]:
        """Nothing is rendered."""
        raise NotImplementedError

    def encode(self, text: str) -> list[int]:
        """BEGIN and the text's bytes."""
        return [BEGIN, *text.encode()]

    def encode_chat(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """BEGIN, then for each message TURN, the role, a newline and the content; at last an open turn.
        Tools come first, as JSON in a turn of their own, and calls of them after their message's content.
        """
        ids = [BEGIN]
        if tools:
            ids += [TURN, *b"tools\n", *json.dumps(list(tools)).encode()]
        for message in messages:
            if "\n" in message["role"]:
                raise PromptError("a role must not hold a line break")
            calls = json.dumps(message["tool_calls"]) if message.get("tool_calls") else ""
            ids += [TURN, *f"{message['role']}\n{message['content'] or ''}{calls}".encode()]
        return [*ids, TURN, *b"assistant\n"]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of the bytes among the tokens."""
        return bytes(each for each in token_ids if each < BEGIN).decode(errors="replace")

    def token_text(self, token_id: int) -> str:
        """One token as text."""
        return {BEGIN: "<begin>", TURN: "<turn>", END: "<end>"}.get(token_id) or self.decode([token_id])

    def token_bytes(self, token_id: int) -> bytes:
        """One token's bytes."""
        return bytes([token_id]) if token_id < BEGIN else self.token_text(token_id).encode()

    def token_length(self, token_id: int) -> int:
        """How many characters a token adds to a text."""
        return int(token_id < BEGIN)

    def stream(self) -> BytesTextStream:
        """A new answer's text."""
        return BytesTextStream()


class BytesTextStream:
    """Text of a growing answer, byte by byte."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_ids: Sequence[int]) -> str:
        """The characters that these tokens complete."""
        return self._decoder.decode(bytes(each for each in token_ids if each < BEGIN))

    def flush(self) -> str:
        """A replacement character for what never became complete."""
        return self._decoder.decode(b"", final=True)
