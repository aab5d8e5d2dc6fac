"""What a request wants continued: prompts of completions, messages of chats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.openai.fields import Fields, encodable
from runtime.openai.limits import Limits, are_token_ids
from runtime.openai.problem import ApiProblem
from runtime.openai.tools.history import read_calls

_ROLES = ("system", "developer", "user", "assistant", "tool")
_ID = 256


def read_prompts(fields: Fields, limits: Limits, name: str = "prompt") -> tuple[str | tuple[int, ...], ...]:
    """The prompts of a completion, or the `input` of an embedding, as text or token ids."""
    value = fields.take(name)
    if value is None:
        fields.wrong(name, "is missing")
        return ()
    if isinstance(value, str):
        given: list[Any] = [value]
    elif isinstance(value, list) and value and all(type(each) is int for each in value):
        given = [value]
    else:
        given = value
    if not isinstance(given, list) or not given:
        fields.wrong(name, "must be a string, a list of strings, token ids, or a list of lists of token ids")
        return ()
    if len(given) > limits.bounds.max_prompts:
        fields.wrong(name, f"must be at most {limits.bounds.max_prompts} prompts")
        return ()
    prompts: list[str | tuple[int, ...]] = []
    for each in given:
        if isinstance(each, str):
            _check_text(fields, name, each, limits)
            prompts.append(each)
        elif (
            isinstance(each, list)
            and each
            and len(each) <= limits.max_model_len
            and are_token_ids(each, limits)
        ):
            prompts.append(tuple(each))
        elif isinstance(each, list) and len(each) > limits.max_model_len:
            raise too_long(len(each), limits.max_model_len, name)
        else:
            fields.wrong(name, f"must hold strings, or token ids from 0 to {limits.vocab_size - 1}")
            return ()
    return tuple(prompts)


def read_messages(fields: Fields, limits: Limits) -> tuple[Mapping[str, Any], ...]:
    """The messages of a chat as chat templates take them: role, content as one text, perhaps a name, calls of
    tools and what they are answered.
    """
    value = fields.take("messages")
    if not isinstance(value, list) or not value:
        fields.wrong("messages", "must be a list of at least one message")
        return ()
    if len(value) > limits.bounds.max_messages:
        fields.wrong("messages", f"must be at most {limits.bounds.max_messages} messages")
        return ()
    messages = []
    characters = 0
    for index, each in enumerate(value):
        message = _message(fields, f"messages[{index}]", each, limits)
        characters += len(message.get("content") or "")
        messages.append(message)
    check_length(characters, limits, "messages")
    return tuple(messages)


def _message(fields: Fields, path: str, value: Any, limits: Limits) -> dict[str, Any]:
    if not isinstance(value, dict):
        fields.wrong(path, "must be an object")
        return {}
    inner = Fields(value, path + ".")
    role = inner.text("role", 32)
    if role not in _ROLES:
        inner.wrong("role", f"must be one of {', '.join(_ROLES)}")
    calls = read_calls(inner, limits) if role == "assistant" else []
    # "developer" is OpenAI's newer word for what chat templates call "system".
    message: dict[str, Any] = {"role": "system" if role == "developer" else role or ""}
    message["content"] = "" if calls and not inner.has("content") else _content(inner, limits)
    if name := inner.text("name", _ID):
        message["name"] = name
    if calls:
        message["tool_calls"] = calls
    if role == "tool":
        message["tool_call_id"] = inner.text("tool_call_id", _ID)
        if not inner.has("tool_call_id"):
            inner.wrong("tool_call_id", "is missing")
    if (calls or role == "tool") and limits.tool_form is None:
        inner.wrong("tool_calls" if calls else "role", limits.why_no_tools)
    if role == "assistant":
        inner.only("refusal", (), "is not supported: an answer's refusal is its content")
        inner.only("audio", (), "is not supported: this model speaks text only")
        inner.only("function_call", (), "is not supported: it was replaced by `tool_calls`")
        inner.only("annotations", ([],), "is not supported: nothing is searched")
    inner.finish(("content",))
    fields.problems += inner.problems
    return message


def _content(inner: Fields, limits: Limits) -> str:
    value = inner.take("content")
    if isinstance(value, str):
        texts = [value]
    elif isinstance(value, list) and len(value) <= limits.bounds.max_content_parts:
        texts = []
        for part in value:
            if not isinstance(part, dict) or part.get("type") != "text" or set(part) != {"type", "text"}:
                inner.wrong("content", 'must be text, or parts of the form {"type": "text", "text": ...}')
                return ""
            texts.append(part["text"])
    else:
        most = limits.bounds.max_content_parts
        inner.wrong("content", f"must be a string or a list of at most {most} text parts")
        return ""
    if not all(isinstance(text, str) and encodable(text) for text in texts):
        inner.wrong("content", "must be text")
        return ""
    return "\n".join(texts)


def _check_text(fields: Fields, name: str, text: str, limits: Limits) -> None:
    check_length(len(text), limits, name)
    if not encodable(text):
        fields.wrong(name, "holds half of a surrogate pair, which is no text")


def check_length(characters: int, limits: Limits, name: str) -> None:
    """Refuses (400) text that is too long to be tokenised: `name` is the field that it came from."""
    if characters > limits.max_characters:
        raise ApiProblem(
            400,
            f"`{name}` has {characters} characters; this model's {limits.max_model_len} tokens cannot "
            f"hold them.",
            param=name,
            code="context_length_exceeded",
        )


def too_long(tokens: int, max_model_len: int, param: str, asked: int = 0) -> ApiProblem:
    """The 400 for a prompt that does not fit the model's context."""
    wanted = f" and {asked} in the completion" if asked else ""
    return ApiProblem(
        400,
        f"This model's maximum context length is {max_model_len} tokens. However, you requested "
        f"{tokens} tokens "
        f"in the `{param}`{wanted}.",
        param=param,
        code="context_length_exceeded",
    )
