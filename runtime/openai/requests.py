"""Requests for completions and chats: from JSON to a typed request, strictly.

Fields of OpenAI's API that cannot be acted on are refused by name, never ignored. `user`,
`safety_identifier` and `prompt_cache_key` only label a request: they are accepted and change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.engines.base import Sampling
from runtime.openai.fields import Fields
from runtime.openai.limits import Limits
from runtime.openai.problem import ApiProblem
from runtime.openai.prompts import read_messages, read_prompts
from runtime.openai.response_format import read_response_format
from runtime.openai.sampling import read_chat_logprobs, read_completion_logprobs, read_sampling
from runtime.openai.tools.offer import Offer, read_offer

_INT64 = 2**63
_MAX_TOKENS = 2**31 - 1
LABELS = ("user", "safety_identifier", "prompt_cache_key")
"""Fields that only label a request: accepted, without effect."""


@dataclass(frozen=True)
class GenerationRequest:
    """What completions and chats have in common. `max_tokens` None: the endpoint's default."""

    model: str
    sampling: Mapping[str, Any]
    max_tokens: int | None
    n: int
    stream: bool
    include_usage: bool

    @property
    def scores(self) -> bool:
        """Whether log probabilities of the prompts are wanted."""
        return bool(self.sampling.get("prompt_logprobs"))

    def require_bound(self, prompts: Sequence[Sequence[int]], limits: Limits) -> None:
        """Refuses (400) more log probabilities of prompts than an answer may have."""
        if not self.scores:
            return
        most = limits.bounds.max_prompt_logprobs
        count = sum(map(len, prompts)) * self.n * (self.sampling["logprobs"] + 1)
        if count > most:
            message = (
                f"`logprobs` with `echo` asks for {count} log probabilities of prompts (tokens x `n` x "
                f"(`logprobs` + 1)); one request may have {most}."
            )
            raise ApiProblem(400, message, param="logprobs", code="invalid_value")

    def sampling_for(self, max_tokens: int, choice: int) -> Sampling:
        """The sampling of one of `n` choices: a given seed gives each choice a seed of its own."""
        values = dict(self.sampling)
        if values.get("seed") is not None:
            values["seed"] = (values["seed"] + choice) % _INT64
        return Sampling(max_tokens=max_tokens, **values)


@dataclass(frozen=True)
class CompletionRequest(GenerationRequest):
    """POST completions. A prompt is text or token ids."""

    prompts: tuple[str | tuple[int, ...], ...]
    echo: bool


@dataclass(frozen=True)
class ChatRequest(GenerationRequest):
    """POST chat/completions. Messages have `role`, `content` as text, and what else templates take."""

    messages: tuple[Mapping[str, Any], ...]
    offer: Offer | None


def parse_completion(body: Any, limits: Limits) -> CompletionRequest:
    """A completion request; ApiProblem (400) says everything that is wrong with it."""
    fields = Fields(_object(body))
    common = _common(fields, limits)
    prompts = read_prompts(fields, limits)
    echo = fields.truth("echo")
    max_tokens = fields.integer("max_tokens", 0, _MAX_TOKENS)
    _require_room(fields, common["sampling"], max_tokens)
    read_completion_logprobs(fields, common["sampling"], limits, echo=echo)
    _set_grammar(fields, common["sampling"], read_response_format(fields, limits), "response_format")
    n = common["n"]
    fields.only("best_of", (n,), "is not supported: only the same number as `n`")
    fields.only("suffix", (), "is not supported: this model completes, it does not insert")
    fields.finish(LABELS)
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
    messages = read_messages(fields, limits)
    old = fields.integer("max_tokens", 1, _MAX_TOKENS)
    new = fields.integer("max_completion_tokens", 1, _MAX_TOKENS)
    if old is not None and new is not None and old != new:
        fields.wrong("max_tokens", "and `max_completion_tokens` differ; give one")
    _require_room(fields, common["sampling"], new if new is not None else old)
    read_chat_logprobs(fields, common["sampling"], limits)
    grammar = read_response_format(fields, limits)
    offer = read_offer(fields, limits)
    if offer is not None and fields.data.get("response_format") not in (None, {"type": "text"}):
        fields.wrong("response_format", "cannot be combined with `tools`")
    elif offer is not None:
        _set_grammar(fields, common["sampling"], offer.grammar, "tools")
        if offer.one and offer.form.closing and not offer.grammar:
            # Nothing after the first call is wanted, so do not generate it.
            common["sampling"]["stop"] += (offer.form.closing.strip(),)
    else:
        _set_grammar(fields, common["sampling"], grammar, "response_format")
    fields.only("functions", ([],), "is not supported: it was replaced by `tools`")
    fields.only("function_call", ("none", "auto"), "is not supported: it was replaced by `tool_choice`")
    fields.only("modalities", (["text"],), "is not supported: this model speaks text only")
    fields.only("store", (False,), "is not supported: nothing is stored")
    fields.only("metadata", ({},), "is not supported: nothing is stored")
    fields.only("service_tier", ("auto", "default"), "is not supported: there is one tier")
    fields.only("reasoning_effort", (), "is not supported")
    fields.finish(LABELS)
    if common["n"] > limits.max_sequences:
        fields.wrong("n", f"must be at most {limits.max_sequences}")
    fields.raise_problems()
    return ChatRequest(**common, max_tokens=new if new is not None else old, messages=messages, offer=offer)


def _require_room(fields: Fields, sampling: dict[str, Any], max_tokens: int | None) -> None:
    if max_tokens is not None and sampling["min_tokens"] > max_tokens:
        fields.wrong("min_tokens", f"must be at most {max_tokens}, the most tokens that are asked for")


def _set_grammar(fields: Fields, sampling: dict[str, Any], grammar: str | None, name: str) -> None:
    """Adds what the answer must match. Nothing may ask for more tokens once it is complete."""
    if grammar is None:
        return
    sampling["grammar"], sampling["grammar_param"] = grammar, name
    for other in ("ignore_eos", "min_tokens"):
        if sampling[other]:
            fields.wrong(other, f"cannot be combined with `{name}`, which says where the answer ends")


def read_model(fields: Fields) -> str:
    """The name of the model that is asked."""
    if not fields.has("model"):
        fields.wrong("model", "is missing")
    return fields.text("model", 1024) or ""


def _object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise ApiProblem(400, "The body must be a JSON object.", code="invalid_json")
    return body


def _common(fields: Fields, limits: Limits) -> dict[str, Any]:
    model = read_model(fields)
    stream = fields.truth("stream")
    n = fields.integer("n", 1, limits.bounds.max_n, 1)
    return {
        "model": model,
        "sampling": read_sampling(fields, limits),
        "n": n,
        "stream": stream,
        "include_usage": _stream_options(fields, stream),
    }


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
