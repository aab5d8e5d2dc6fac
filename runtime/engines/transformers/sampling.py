"""Choosing the next token of one answer from the model's logits.

The order is vLLM's: minimum length, bias and penalties, then temperature, min-p, top-k and top-p. Log
probabilities are those of the model itself, before any of it, as vLLM reports them by default.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from runtime.engines.base import Sampling, TokenLogprob

if TYPE_CHECKING:
    from runtime.engines.transformers.grammar import Mask


class Sampler:
    """One answer's sampling state: what was generated, and its own random numbers."""

    def __init__(
        self,
        sampling: Sampling,
        prompt: Sequence[int],
        ends: frozenset[int],
        device: torch.device,
        mask: Mask | None = None,
    ) -> None:
        """`ends`: the model's end-of-text tokens, out of reach until `min_tokens` are generated. `mask`: the
        answer's grammar.
        """
        self._sampling = sampling
        self._mask = mask
        self._prompt = set(prompt)
        self._counts: Counter[int] = Counter()
        self._ends = sorted(ends | set(sampling.stop_token_ids))
        self._random = torch.Generator(device=device)
        if sampling.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(sampling.seed % 2**63)

    def choose(self, logits: torch.Tensor) -> tuple[int, TokenLogprob | None]:
        """The next token from `logits` of shape [vocabulary], and its log probability where asked for."""
        logits = logits.float()
        raw = torch.log_softmax(logits, dim=-1) if self._sampling.logprobs is not None else None
        adjusted = self._adjusted(logits)
        token = int(adjusted.argmax()) if self._sampling.temperature == 0 else self._drawn(adjusted)
        self._counts[token] += 1
        if self._mask is not None:
            self._mask.accept(token)
        return token, None if raw is None else self._logprob(raw, token)

    def _adjusted(self, logits: torch.Tensor) -> torch.Tensor:
        sampling = self._sampling
        logits = logits.clone()
        if self._mask is not None:
            self._mask.apply(logits)
        if self._counts.total() < sampling.min_tokens and self._ends:
            logits[self._ends] = -torch.inf
        for token, bias in sampling.logit_bias.items():
            logits[token] += bias
        if sampling.repetition_penalty != 1.0:
            seen = sorted(self._prompt | self._counts.keys())
            values = logits[seen]
            logits[seen] = torch.where(
                values > 0, values / sampling.repetition_penalty, values * sampling.repetition_penalty
            )
        if self._counts and (sampling.presence_penalty or sampling.frequency_penalty):
            seen = list(self._counts)
            times = torch.tensor([self._counts[token] for token in seen], device=logits.device)
            logits[seen] -= sampling.presence_penalty + sampling.frequency_penalty * times
        return logits

    def _drawn(self, logits: torch.Tensor) -> int:
        sampling = self._sampling
        logits = logits / sampling.temperature
        if sampling.min_p > 0:
            probabilities = torch.softmax(logits, dim=-1)
            logits = logits.masked_fill(probabilities < sampling.min_p * probabilities.max(), -torch.inf)
        if 0 < sampling.top_k < logits.numel():
            least = torch.topk(logits, sampling.top_k).values[-1]
            logits = logits.masked_fill(logits < least, -torch.inf)
        if sampling.top_p < 1.0:
            ordered, order = torch.sort(logits, descending=True)
            probabilities = torch.softmax(ordered, dim=-1)
            # A token stays while those before it do not reach top_p; the first always does.
            outside = probabilities.cumsum(dim=-1) - probabilities >= sampling.top_p
            outside[0] = False
            logits = logits.masked_fill(torch.zeros_like(outside).scatter(0, order, outside), -torch.inf)
        return int(torch.multinomial(torch.softmax(logits, dim=-1), 1, generator=self._random))

    def _logprob(self, raw: torch.Tensor, token: int) -> TokenLogprob:
        count = self._sampling.logprobs or 0
        values, tokens = torch.topk(raw, count) if count else (raw[:0], raw[:0])
        top = tuple(zip((int(each) for each in tokens), (float(each) for each in values), strict=True))
        return TokenLogprob(token, float(raw[token]), top)
