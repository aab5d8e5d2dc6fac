"""Choosing the next tokens of several answers from the model's logits.

The order is vLLM's: minimum length, bias and penalties, then temperature, min-p, top-k and top-p. Log
probabilities are those of the model itself, before any of it, as vLLM reports them by default. Every answer
has random numbers of its own, one for each token, so that what else is in the batch does not change it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

import torch

from runtime.engines.base import NotFinite, Sampling, TokenLogprob
from runtime.engines.transformers.drawing import draw

if TYPE_CHECKING:
    from runtime.engines.transformers.grammar.mask import Mask

Choice = tuple[int, TokenLogprob | None]


class Sampler:
    """One answer's sampling state: what was generated, and its own random numbers."""

    def __init__(
        self,
        sampling: Sampling,
        prompt: Sequence[int],
        ends: frozenset[int],
        mask: Mask | None = None,
    ) -> None:
        """`ends`: the model's end-of-text tokens, out of reach until `min_tokens` are generated. `mask`: the
        answer's grammar.
        """
        self.sampling = sampling
        self._mask = mask
        self._prompt = set(prompt) if sampling.repetition_penalty != 1.0 else frozenset()
        self._counts: Counter[int] = Counter()
        self._generated = 0
        self._ends = sorted(ends | set(sampling.stop_token_ids))
        self._random = Random(sampling.seed)  # noqa: S311 - nothing secret

    def uniform(self) -> float:
        """The random number of the next token, in [0, 1)."""
        return self._random.random()

    def adjust(self, logits: torch.Tensor) -> None:
        """Changes logits of shape [vocabulary] in place: grammar, minimum length, bias and penalties."""
        sampling = self.sampling
        if self._mask is not None:
            self._mask.apply(logits)
        if self._generated < sampling.min_tokens and self._ends:
            logits[self._ends] = -torch.inf
        if sampling.logit_bias:
            tokens = list(sampling.logit_bias)
            logits[tokens] += torch.tensor(list(sampling.logit_bias.values()), device=logits.device)
        if sampling.repetition_penalty != 1.0:
            seen = sorted(self._prompt | self._counts.keys())
            values, penalty = logits[seen], sampling.repetition_penalty
            logits[seen] = torch.where(values > 0, values / penalty, values * penalty)
        if self._counts and (sampling.presence_penalty or sampling.frequency_penalty):
            seen = list(self._counts)
            times = torch.tensor([self._counts[token] for token in seen], device=logits.device)
            logits[seen] -= sampling.presence_penalty + sampling.frequency_penalty * times

    def chose(self, token: int) -> None:
        """The answer's next token."""
        self._generated += 1
        self._counts[token] += 1
        if self._mask is not None:
            self._mask.accept(token)


def choose(samplers: Sequence[Sampler], logits: torch.Tensor) -> list[Choice | Exception]:
    """Each answer's next token from `logits` of shape [answers, vocabulary], which are changed, and its log
    probability where it is asked for; or why this answer gets none, which changes nothing for the others.
    """
    with torch.inference_mode():
        logits = logits.float()
        asked = [n for n, sampler in enumerate(samplers) if sampler.sampling.logprobs is not None]
        raw = dict(zip(asked, torch.log_softmax(logits[asked], dim=-1), strict=True)) if asked else {}
        failed = _adjusted(samplers, logits)
        tokens = _tokens(samplers, logits)
        return [
            failed.get(n) or _chosen(sampler, token, raw.get(n))
            for n, (sampler, token) in enumerate(zip(samplers, tokens, strict=True))
        ]


def _adjusted(samplers: Sequence[Sampler], logits: torch.Tensor) -> dict[int, Exception]:
    """Changes each answer's row as it asks; the answers that have none to choose from now, and why."""
    failed: dict[int, Exception] = {}
    for n, (sampler, row) in enumerate(zip(samplers, logits, strict=True)):
        try:
            sampler.adjust(row)
        except Exception as error:
            failed[n] = error
    # One number for each row tells: what is not a number is the largest, and so is infinity.
    for n, finite in enumerate(torch.isfinite(logits.amax(dim=-1)).tolist()):
        if not finite:
            failed.setdefault(n, NotFinite("the model's numbers for the next token are not finite"))
    return failed


def _chosen(sampler: Sampler, token: int, raw: torch.Tensor | None) -> Choice | Exception:
    """`raw`: the log probabilities of shape [vocabulary], where they are asked for."""
    try:
        sampler.chose(token)
        return token, None if raw is None else _logprob(raw, token, sampler.sampling.logprobs or 0)
    except Exception as error:
        return error


def _tokens(samplers: Sequence[Sampler], logits: torch.Tensor) -> list[int]:
    drawn = [n for n, sampler in enumerate(samplers) if sampler.sampling.temperature != 0]
    tokens: list[int] = logits.argmax(dim=-1).tolist() if len(drawn) < len(samplers) else [0] * len(samplers)
    if drawn:
        rows = logits if len(drawn) == len(samplers) else logits[drawn]
        samplings = [samplers[n].sampling for n in drawn]
        uniforms = [samplers[n].uniform() for n in drawn]
        for n, token in zip(drawn, draw(rows, samplings, uniforms), strict=True):
            tokens[n] = token
    return tokens


def _logprob(raw: torch.Tensor, token: int, count: int) -> TokenLogprob:
    values, tokens = torch.topk(raw, count) if count else (raw[:0], raw[:0])
    own = float(raw[token])
    if math.isnan(own):
        raise NotFinite("the model's log probabilities are no numbers")
    return TokenLogprob(token, own, tuple(zip(tokens.tolist(), values.tolist(), strict=True)))
