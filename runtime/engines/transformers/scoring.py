"""Log probabilities of a prompt's tokens, taken from the logits of the steps that read it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from runtime.engines.base import NotFinite, TokenLogprob

_STEP_BYTES = 128 << 20
_WHOLE_BYTES = 1 << 30
_FLOAT = 4  # bytes


def most_in_step(vocabulary: int) -> int:
    """How many tokens of such prompts one step reads, where it can read parts of them."""
    return max(16, _STEP_BYTES // (vocabulary * _FLOAT))


def most_at_once(vocabulary: int) -> int:
    """The longest of such prompts where a model reads them whole."""
    return _WHOLE_BYTES // (vocabulary * _FLOAT)


def scores(logits: torch.Tensor, following: Sequence[int], count: int) -> list[TokenLogprob]:
    """Of each following token and the `count` likeliest in its place. `logits`: after the tokens before them;
    shape [tokens, vocabulary], perhaps with one more that nothing follows. Raises NotFinite.
    """
    if not following:
        return []
    logprobs = torch.log_softmax(logits[: len(following)].float(), dim=-1)
    own = logprobs.gather(1, torch.tensor(following, device=logits.device).unsqueeze(1)).squeeze(1).tolist()
    if any(map(math.isnan, own)):
        raise NotFinite("the log probabilities of the prompt are no numbers")
    values, tokens = (each.tolist() for each in torch.topk(logprobs, count))
    return [
        TokenLogprob(token, logprob, tuple(zip(*likely, strict=True)))
        for token, logprob, *likely in zip(following, own, tokens, values, strict=True)
    ]
