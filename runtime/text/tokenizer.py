"""Prompts to tokens and tokens to text, the same on every backend that has a Hugging Face tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from runtime.text.templates.renderer import ChatTemplate, PromptError
from runtime.text.token_bytes import own_bytes
from runtime.text.tool_marks import show_marks

Message = Mapping[str, Any]
"""One chat message: `role`, `content` and perhaps `name`; with tools also `tool_calls` (their arguments as
objects) and `tool_call_id`."""


Tool = Mapping[str, Any]
"""One of OpenAI's tools: `type` and `function`."""


class TextStream(Protocol):
    """Text of a growing answer."""

    def push(self, token_ids: Sequence[int]) -> str:
        """The text that these tokens add; incomplete characters wait for the tokens that complete them."""

    def flush(self) -> str:
        """What was still waiting."""


class Tokenizer(Protocol):
    """What the OpenAI layer needs of a tokenizer. Thread-safe."""

    vocab_size: int

    @property
    def template(self) -> str | None:
        """The chat template's text, None where the model has none: it shows the tools' form it knows."""

    def encode(self, text: str) -> list[int]:
        """A completion's prompt: with the tokenizer's special tokens."""

    chat: ChatTemplate | None
    """What makes a chat's text; None where `encode_chat` knows a way of its own, or that there is none."""

    def encode_chat(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """A chat's prompt, where `chat` is None. Raises PromptError."""

    def encode_rendered(self, text: str) -> list[int]:
        """A chat's prompt from the text that `chat` made: without further special tokens, as the template
        writes the beginning-of-text token where the model wants one.
        """

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, without special ones."""

    def token_text(self, token_id: int) -> str:
        """One token as text, special ones included; for logprobs."""

    def token_bytes(self, token_id: int) -> bytes:
        """One token's bytes, of a part of a character too; joined they are the text's."""

    def token_length(self, token_id: int) -> int:
        """How many characters a token adds to a text; special ones none."""

    def stream(self) -> TextStream:
        """A new answer's text."""


_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"
_LONGEST_INCOMPLETE = 3  # bytes of a character of which one is missing
_LONGEST_WINDOW = 256  # tokens; a model that says nothing but broken characters is taken at its word


class HubTokenizer:
    """A tokenizer object of the transformers library (which is not imported here)."""

    def __init__(self, tokenizer: Any, *, vocab_size: int, chat_template: str | None = None) -> None:
        """`tokenizer` is changed where it would hide the marks of tool calls."""
        show_marks(tokenizer)
        self._tokenizer = tokenizer
        self.vocab_size = vocab_size
        self._tokens: dict[int, tuple[str, int]] = {}
        self.chat = _chat_template(tokenizer, chat_template)
        self.template = None if self.chat is None else self.chat.with_tools

    @property
    def inner(self) -> Any:
        """The library's object."""
        return self._tokenizer

    def encode(self, text: str) -> list[int]:
        """A completion's prompt: with the tokenizer's special tokens."""
        return list(self._tokenizer(text, add_special_tokens=True, return_attention_mask=False)["input_ids"])

    def encode_chat(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """A chat's prompt in the way of a tokenizer that has one without templates, as Mistral's has."""
        try:
            made = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages], tools=[dict(tool) for tool in tools] or None
            )
        except Exception as error:
            raise PromptError(_template_problem(error)) from error
        return list(made["input_ids"] if isinstance(made, Mapping) else made)

    def encode_rendered(self, text: str) -> list[int]:
        """A chat's prompt from the text that the template made."""
        return list(self._tokenizer(text, add_special_tokens=False, return_attention_mask=False)["input_ids"])

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, without special ones."""
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))

    def token_text(self, token_id: int) -> str:
        """One token as text, special ones included."""
        return self._token(token_id)[0]

    def token_bytes(self, token_id: int) -> bytes:
        """One token's bytes, of a part of a character too."""
        text = self.token_text(token_id)
        if _INCOMPLETE not in text:
            return text.encode()
        spelled = self._tokenizer.convert_ids_to_tokens(token_id)
        return own_bytes(spelled if isinstance(spelled, str) else None, text)

    def token_length(self, token_id: int) -> int:
        """How many characters a token adds to a text."""
        return self._token(token_id)[1]

    def _token(self, token_id: int) -> tuple[str, int]:
        """Kept, as answers with log probabilities ask for the same ones again and again."""
        known = self._tokens.get(token_id)
        if known is None:
            text = str(self._tokenizer.decode([token_id], skip_special_tokens=False))
            known = self._tokens[token_id] = text, len(self.decode([token_id]))
        return known

    def stream(self) -> TextStream:
        """A new answer's text."""
        return HubTextStream(self)


class HubTextStream:
    """Text of a growing answer, by decoding a short window of its last tokens again.

    A token's text can depend on the one before it, so the window starts with tokens whose text was given out
    already. A character can be spread over several tokens; until it is complete it decodes to replacement
    characters, which are held back.
    """

    def __init__(self, tokenizer: HubTokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []  # the window
        self._context = 0  # so many of its tokens are only there for those after them
        self._said = 0  # so many characters of its text were given out

    def push(self, token_ids: Sequence[int]) -> str:
        """The text that these tokens add."""
        self._ids.extend(token_ids)
        text = self._tokenizer.decode(self._ids)
        held = min(len(text) - len(text.rstrip(_INCOMPLETE)), _LONGEST_INCOMPLETE)
        if len(self._ids) > _LONGEST_WINDOW:
            held = 0
        new = text[self._said : len(text) - held]
        self._said = max(self._said, len(text) - held)
        if held == 0:
            self._move(bool(new))
        return new

    def flush(self) -> str:
        """The rest, with a replacement character where the answer ended inside a character."""
        new = self._tokenizer.decode(self._ids)[self._said :]
        self._ids, self._context, self._said = [], 0, 0
        return new

    def _move(self, spoke: bool) -> None:
        """Drops what the next tokens do not need: the old context, or special tokens that said nothing."""
        if spoke:
            del self._ids[: self._context]
            self._context = len(self._ids)
            self._said = len(self._tokenizer.decode(self._ids))
        else:
            del self._ids[self._context :]


def _chat_template(tokenizer: Any, given: str | None) -> ChatTemplate | None:
    """The template that was given, else the model's; a model may have several, one of them for tools."""
    own = given or getattr(tokenizer, "chat_template", None)
    if isinstance(own, Mapping):
        own = {name: text for name, text in own.items() if isinstance(text, str)}
        plain = own.get("default") or own.get("tool_use")
        with_tools = own.get("tool_use") or plain
    else:
        plain = with_tools = own
    if not isinstance(plain, str) or not isinstance(with_tools, str):
        return None
    return ChatTemplate(plain, with_tools, getattr(tokenizer, "special_tokens_map", {}))


def _template_problem(error: Exception) -> str:
    text = str(error)
    if "chat_template is not set" in text or ("chat template" in text.lower() and "not set" in text.lower()):
        return (
            "this model has no chat template: use the completions endpoint, or start it with --chat_template"
        )
    return "the model's tokenizer cannot render these messages"
