"""Requests for completions and chats: from JSON to a typed request, strictly.

Fields of OpenAI's API that cannot be acted on are refused by name, never ignored. `user` and
`safety_identifier` only label a request, `metadata` only with `store`: they are accepted and do nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.engines.base import Sampling
from runtime.openai.fields import Fields, encodable
from runtime.openai.problem import ApiProblem

_INT64 = 2**63
_MAX_TOKENS = 2**31 - 1
_STOPS, _STOP_LENGTH = 4, 256
_BIASES = 300
_MESSAGES, _PARTS = 1024, 4096
_LABELS = ("user", "safety_identifier", "prompt_cache_key")
_ROLES = ("system", "developer", "user", "assistant")


@dataclass(frozen=True)
class Limits:
    """What bounds a request, from flags and from the loaded model."""

    max_model_len: int
    vocab_size: int
    max_sequences: int
    max_logprobs: int
    default_sampling: Mapping[str, float]
    default_seed: int | None = None

    @property
    def max_characters(self) -> int:
        """Text longer than this cannot fit; it is refused before it is tokenised."""
        return 32 * self.max_model_len


@dataclass(frozen=True)
class GenerationRequest:
    """What completions and chats have in common. `max_tokens` None: the endpoint's default."""

    model: str
    sampling: Mapping[str, Any]
    max_tokens: int | None
    n: int
    stream: bool
    include_usage: bool

    def sampling_for(self, max_tokens: int, choice: int) -> Sampling:
        """The sampling of one of `n` choices: a given seed gives each choice a seed of its own."""
        values = dict(self.sampling)
        if values.get("seed") is not None:
            values["seed"] = (values["seed"] + choice) % _INT64
        values["min_tokens"] = min(values.get("min_tokens", 0), max_tokens)
        return Sampling(max_tokens=max_tokens, **values)


@dataclass(frozen=True)
class CompletionRequest(GenerationRequest):
    """POST completions. A prompt is text or token ids."""

    prompts: tuple[str | tuple[int, ...], ...]
    echo: bool


@dataclass(frozen=True)
class ChatRequest(GenerationRequest):
    """POST chat/completions. Messages have `role`, `content` as text, and perhaps `name`."""

    messages: tuple[Mapping[str, str], ...]


def parse_completion(body: Any, limits: Limits) -> CompletionRequest:
    """A completion request; ApiProblem (400) says everything that is wrong with it."""
    fields = Fields(_object(body))
    common = _common(fields, limits)
    prompts = _prompts(fields, limits)
    echo = fields.truth("echo")
    max_tokens = fields.integer("max_tokens", 0 if echo else 1, _MAX_TOKENS)
    logprobs = fields.integer("logprobs", 0, limits.max_logprobs) if limits.max_logprobs else None
    if not limits.max_logprobs:
        fields.only("logprobs", (), "is not available: this engine has no log probabilities")
    if logprobs is not None:
        common["sampling"]["logprobs"] = logprobs
        if echo:
            fields.wrong("logprobs", "cannot be combined with `echo` here")
    n = common["n"]
    fields.only("best_of", (n,), "is not supported: only the same number as `n`")
    fields.only("suffix", (), "is not supported: this model completes, it does not insert")
    fields.finish(_LABELS)
    sequences = max(1, len(prompts)) * n
    if sequences > limits.max_sequences:
        fields.wrong(
            "prompt", f"and `n` ask for {sequences} sequences; one request may have {limits.max_sequences}"
        )
    fields.raise_problems()
    return CompletionRequest(**common, max_tokens=max_tokens, prompts=prompts, echo=echo)


def parse_chat(body: Any, limits: Limits) -> ChatRequest:
    """A chat request; ApiProblem (400) says everything that is wrong with it."""
    fields = Fields(_object(body))
    common = _common(fields, limits)
    messages = _messages(fields, limits)
    old = fields.integer("max_tokens", 1, _MAX_TOKENS)
    new = fields.integer("max_completion_tokens", 1, _MAX_TOKENS)
    if old is not None and new is not None and old != new:
        fields.wrong("max_tokens", "and `max_completion_tokens` differ; give one")
    _chat_logprobs(fields, common["sampling"], limits)
    fields.only("tools", ([],), "is not supported yet")
    fields.only("tool_choice", ("none", "auto"), "is not supported yet")
    fields.only("functions", ([],), "is not supported: it was replaced by `tools`")
    fields.only("function_call", ("none", "auto"), "is not supported: it was replaced by `tool_choice`")
    fields.only("parallel_tool_calls", (True, False), "must be true or false")
    fields.only("response_format", ({"type": "text"},), "is not supported yet, except of type text")
    fields.only("modalities", (["text"],), "is not supported: this model speaks text only")
    fields.only("store", (False,), "is not supported: nothing is stored")
    fields.only("metadata", ({},), "is not supported: nothing is stored")
    fields.only("service_tier", ("auto", "default"), "is not supported: there is one tier")
    fields.only("reasoning_effort", (), "is not supported")
    fields.finish(_LABELS)
    if common["n"] > limits.max_sequences:
        fields.wrong("n", f"must be at most {limits.max_sequences}")
    fields.raise_problems()
    return ChatRequest(**common, max_tokens=new if new is not None else old, messages=messages)


def _object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise ApiProblem(400, "The body must be a JSON object.", code="invalid_json")
    return body


def _common(fields: Fields, limits: Limits) -> dict[str, Any]:
    model = fields.text("model", 1024)
    if not fields.has("model"):
        fields.wrong("model", "is missing")
    stream = fields.truth("stream")
    n = fields.integer("n", 1, 128, 1)
    return {
        "model": model or "",
        "sampling": _sampling(fields, limits),
        "n": n,
        "stream": stream,
        "include_usage": _stream_options(fields, stream),
    }


def _sampling(fields: Fields, limits: Limits) -> dict[str, Any]:
    default = limits.default_sampling
    return {
        "temperature": fields.number("temperature", 0, 2, default.get("temperature", 1.0)),
        "top_p": fields.number("top_p", 0, 1, default.get("top_p", 1.0), above=True),
        "top_k": max(0, fields.integer("top_k", -1, _MAX_TOKENS, int(default.get("top_k", 0)))),
        "min_p": fields.number("min_p", 0, 1, default.get("min_p", 0.0)),
        "presence_penalty": fields.number("presence_penalty", -2, 2, default.get("presence_penalty", 0.0)),
        "frequency_penalty": fields.number("frequency_penalty", -2, 2, default.get("frequency_penalty", 0.0)),
        "repetition_penalty": fields.number(
            "repetition_penalty", 0, 10, default.get("repetition_penalty", 1.0), above=True
        ),
        "seed": fields.integer("seed", -_INT64, _INT64 - 1, limits.default_seed),
        "min_tokens": fields.integer("min_tokens", 0, limits.max_model_len, 0),
        "ignore_eos": fields.truth("ignore_eos"),
        "stop": _stop(fields),
        "stop_token_ids": _stop_token_ids(fields, limits),
        "logit_bias": _logit_bias(fields, limits),
    }


def _stop(fields: Fields) -> tuple[str, ...]:
    value = fields.take("stop")
    if value is None:
        return ()
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(each, str) for each in stops):
        fields.wrong("stop", "must be a string or a list of strings")
    elif len(stops) > _STOPS or any(not 0 < len(each) <= _STOP_LENGTH for each in stops):
        fields.wrong("stop", f"must be at most {_STOPS} strings of 1 to {_STOP_LENGTH} characters")
    elif not all(encodable(each) for each in stops):
        fields.wrong("stop", "holds half of a surrogate pair, which is no text")
    else:
        return tuple(stops)
    return ()


def _stop_token_ids(fields: Fields, limits: Limits) -> tuple[int, ...]:
    value = fields.take("stop_token_ids")
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > 64 or not _token_ids(value, limits):
        fields.wrong("stop_token_ids", f"must be at most 64 token ids below {limits.vocab_size}")
        return ()
    return tuple(value)


def _logit_bias(fields: Fields, limits: Limits) -> dict[int, float]:
    value = fields.take("logit_bias")
    if value is None:
        return {}
    wrong = f"must map at most {_BIASES} token ids below {limits.vocab_size} to numbers from -100 to 100"
    if not isinstance(value, dict) or len(value) > _BIASES:
        fields.wrong("logit_bias", wrong)
        return {}
    biases: dict[int, float] = {}
    for key, bias in value.items():
        number = not isinstance(bias, bool) and isinstance(bias, int | float) and -100 <= bias <= 100
        if not (key.isascii() and key.isdigit() and len(key) < 12) or not number:
            fields.wrong("logit_bias", wrong)
            return {}
        if int(key) >= limits.vocab_size:
            fields.wrong("logit_bias", wrong)
            return {}
        biases[int(key)] = float(bias)
    return biases


def _stream_options(fields: Fields, stream: bool) -> bool:
    value = fields.take("stream_options")
    if value is None:
        return False
    if not isinstance(value, dict):
        fields.wrong("stream_options", "must be an object")
        return False
    if not stream:
        fields.wrong("stream_options", "is only allowed with `stream`")
    options = Fields(value, "stream_options.")
    include_usage = options.truth("include_usage")
    options.only("include_obfuscation", (False,), "is not supported")
    options.finish()
    fields.problems += options.problems
    return include_usage


def _chat_logprobs(fields: Fields, sampling: dict[str, Any], limits: Limits) -> None:
    if not limits.max_logprobs:
        why = "is not available: this engine has no log probabilities"
        fields.only("logprobs", (False,), why)
        fields.only("top_logprobs", (), why)
        return
    wanted = fields.truth("logprobs")
    top = fields.integer("top_logprobs", 0, limits.max_logprobs)
    if wanted:
        sampling["logprobs"] = top or 0
    elif top is not None:
        fields.wrong("top_logprobs", "is only allowed with `logprobs`: true")


def _token_ids(value: Sequence[Any], limits: Limits) -> bool:
    return all(type(each) is int and 0 <= each < limits.vocab_size for each in value)


def _prompts(fields: Fields, limits: Limits) -> tuple[str | tuple[int, ...], ...]:
    value = fields.take("prompt")
    if value is None:
        fields.wrong("prompt", "is missing")
        return ()
    if isinstance(value, str):
        given: list[Any] = [value]
    elif isinstance(value, list) and value and all(type(each) is int for each in value):
        given = [value]
    else:
        given = value
    if not isinstance(given, list) or not given:
        fields.wrong(
            "prompt", "must be a string, a list of strings, token ids, or a list of lists of token ids"
        )
        return ()
    if len(given) > limits.max_sequences:
        fields.wrong("prompt", f"must be at most {limits.max_sequences} prompts")
        return ()
    prompts: list[str | tuple[int, ...]] = []
    for each in given:
        if isinstance(each, str):
            _check_text(fields, "prompt", each, limits)
            prompts.append(each)
        elif (
            isinstance(each, list) and each and len(each) <= limits.max_model_len and _token_ids(each, limits)
        ):
            prompts.append(tuple(each))
        elif isinstance(each, list) and len(each) > limits.max_model_len:
            raise too_long(len(each), limits.max_model_len, "prompt")
        else:
            fields.wrong("prompt", f"must hold strings, or token ids from 0 to {limits.vocab_size - 1}")
            return ()
    return tuple(prompts)


def _messages(fields: Fields, limits: Limits) -> tuple[Mapping[str, str], ...]:
    value = fields.take("messages")
    if not isinstance(value, list) or not value:
        fields.wrong("messages", "must be a list of at least one message")
        return ()
    if len(value) > _MESSAGES:
        fields.wrong("messages", f"must be at most {_MESSAGES} messages")
        return ()
    messages = []
    characters = 0
    for index, each in enumerate(value):
        message = _message(fields, f"messages[{index}]", each)
        characters += len(message.get("content", ""))
        messages.append(message)
    _check_length(characters, limits, "messages")
    return tuple(messages)


def _message(fields: Fields, path: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        fields.wrong(path, "must be an object")
        return {}
    inner = Fields(value, path + ".")
    role = inner.text("role", 32)
    if role not in _ROLES:
        inner.wrong("role", f"must be one of {', '.join(_ROLES)}")
    content = _content(inner)
    name = inner.text("name", 256)
    for absent in ("tool_calls", "function_call", "refusal", "audio", "tool_call_id"):
        inner.only(absent, ([],) if absent == "tool_calls" else (), "is not supported yet")
    inner.finish()
    fields.problems += inner.problems
    # "developer" is OpenAI's newer word for what chat templates call "system".
    message = {"role": "system" if role == "developer" else role or "", "content": content}
    return {**message, "name": name} if name else message


def _content(inner: Fields) -> str:
    value = inner.take("content")
    if isinstance(value, str):
        texts = [value]
    elif isinstance(value, list) and len(value) <= _PARTS:
        texts = []
        for part in value:
            if not isinstance(part, dict) or part.get("type") != "text" or set(part) != {"type", "text"}:
                inner.wrong("content", 'must be text, or parts of the form {"type": "text", "text": ...}')
                return ""
            texts.append(part["text"])
    else:
        inner.wrong("content", "must be a string or a list of text parts")
        return ""
    if not all(isinstance(text, str) and encodable(text) for text in texts):
        inner.wrong("content", "must be text")
        return ""
    return "\n".join(texts)


def _check_text(fields: Fields, name: str, text: str, limits: Limits) -> None:
    _check_length(len(text), limits, name)
    if not encodable(text):
        fields.wrong(name, "holds half of a surrogate pair, which is no text")


def _check_length(characters: int, limits: Limits, name: str) -> None:
    if characters > limits.max_characters:
        raise ApiProblem(
            400,
            f"`{name}` has {characters} characters; this model's {limits.max_model_len} tokens cannot hold them.",
            param=name,
            code="context_length_exceeded",
        )


def too_long(tokens: int, max_model_len: int, param: str, asked: int = 0) -> ApiProblem:
    """The 400 for a prompt that does not fit the model's context."""
    wanted = f" and {asked} in the completion" if asked else ""
    return ApiProblem(
        400,
        f"This model's maximum context length is {max_model_len} tokens. However, you requested {tokens} tokens "
        f"in the `{param}`{wanted}.",
        param=param,
        code="context_length_exceeded",
    )
