"""The fields that say how to choose tokens, alike for completions and chats."""

from __future__ import annotations

from typing import Any

from runtime.openai.fields import Fields, encodable
from runtime.openai.limits import Limits, are_token_ids

_INT64 = 2**63
_LEAST_PENALTY = 0.01  # logits are divided by it: much less, and they overflow


def read_sampling(fields: Fields, limits: Limits) -> dict[str, Any]:
    """The arguments of `Sampling` that a request gives or leaves to the model's defaults."""
    default = limits.default_sampling
    return {
        "temperature": fields.number("temperature", 0, 2, default.get("temperature", 1.0)),
        "top_p": fields.number("top_p", 0, 1, default.get("top_p", 1.0), above=True),
        "top_k": max(0, fields.integer("top_k", -1, 2**31 - 1, int(default.get("top_k", 0)))),
        "min_p": fields.number("min_p", 0, 1, default.get("min_p", 0.0)),
        "presence_penalty": fields.number("presence_penalty", -2, 2, default.get("presence_penalty", 0.0)),
        "frequency_penalty": fields.number("frequency_penalty", -2, 2, default.get("frequency_penalty", 0.0)),
        "repetition_penalty": fields.number(
            "repetition_penalty", _LEAST_PENALTY, 10, default.get("repetition_penalty", 1.0)
        ),
        "seed": fields.integer("seed", -_INT64, _INT64 - 1, limits.default_seed),
        "min_tokens": fields.integer("min_tokens", 0, limits.max_model_len, 0),
        "ignore_eos": fields.truth("ignore_eos"),
        "stop": _stop(fields, limits),
        "stop_token_ids": _stop_token_ids(fields, limits),
        "logit_bias": _logit_bias(fields, limits),
    }


def _stop(fields: Fields, limits: Limits) -> tuple[str, ...]:
    value = fields.take("stop")
    if value is None:
        return ()
    most, longest = limits.bounds.max_stop_strings, limits.bounds.max_stop_bytes
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(each, str) for each in stops):
        fields.wrong("stop", "must be a string or a list of strings")
    elif not all(encodable(each) for each in stops):
        fields.wrong("stop", "holds half of a surrogate pair, which is no text")
    elif len(stops) > most or any(not 0 < len(each.encode()) <= longest for each in stops):
        fields.wrong("stop", f"must be at most {most} strings of 1 to {longest} bytes")
    else:
        return tuple(stops)
    return ()


def _stop_token_ids(fields: Fields, limits: Limits) -> tuple[int, ...]:
    value = fields.take("stop_token_ids")
    if value is None:
        return ()
    most = limits.bounds.max_stop_token_ids
    if not isinstance(value, list) or len(value) > most or not are_token_ids(value, limits):
        fields.wrong("stop_token_ids", f"must be at most {most} token ids below {limits.vocab_size}")
        return ()
    return tuple(value)


def _logit_bias(fields: Fields, limits: Limits) -> dict[int, float]:
    value = fields.take("logit_bias")
    if value is None:
        return {}
    most = limits.bounds.max_logit_bias
    wrong = f"must map at most {most} token ids below {limits.vocab_size} to numbers from -100 to 100"
    if not isinstance(value, dict) or len(value) > most:
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


def read_chat_logprobs(fields: Fields, sampling: dict[str, Any], limits: Limits) -> None:
    """Adds `logprobs` of a chat: whether, and how many alternatives."""
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


def read_completion_logprobs(fields: Fields, sampling: dict[str, Any], limits: Limits, *, echo: bool) -> None:
    """Adds `logprobs` of a completion: how many alternatives, and whether for the prompt too."""
    if not limits.max_logprobs:
        fields.only("logprobs", (), "is not available: this engine has no log probabilities")
        return
    logprobs = fields.integer("logprobs", 0, limits.max_logprobs)
    if logprobs is None:
        return
    sampling["logprobs"], sampling["prompt_logprobs"] = logprobs, echo
