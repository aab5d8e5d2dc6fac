"""Drawing tokens: temperature, min-p, top-k and top-p as vLLM defines them, for several answers at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from runtime.engines.base import Sampling

_COLDEST = 0.01  # vLLM takes colder temperatures for this one: dividing by less overflows


def draw(logits: torch.Tensor, samplings: Sequence[Sampling], uniforms: Sequence[float]) -> list[int]:
    """One token for each row of `logits`, of shape [rows, vocabulary]. `uniforms`: a random number of [0, 1)
    for each row. What a row gets depends on nothing in the others.
    """
    sums = weights(logits, samplings).cumsum(dim=-1)
    totals = sums[:, -1:]
    wanted = torch.tensor(uniforms, dtype=sums.dtype, device=sums.device).unsqueeze(1) * totals
    # Rounding may reach the total, behind which there is no token.
    wanted = torch.minimum(wanted, torch.nextafter(totals, torch.zeros_like(totals)))
    tokens = torch.searchsorted(sums, wanted, right=True).squeeze(1)
    # Behind the last token where a row has no numbers: an id that no model has would end it for everybody.
    drawn: list[int] = tokens.clamp(max=logits.shape[1] - 1).tolist()
    return drawn


def weights(logits: torch.Tensor, samplings: Sequence[Sampling]) -> torch.Tensor:
    """The tokens' probabilities, 0 for those cut off, up to a factor for each row; shape as `logits`."""
    temperatures = [max(each.temperature, _COLDEST) for each in samplings]
    logits = logits / torch.tensor(temperatures, device=logits.device).unsqueeze(1)
    vocabulary = logits.shape[1]
    _cut_to_min_p(logits, {n: each.min_p for n, each in enumerate(samplings) if each.min_p > 0})
    _cut_to_top_k(logits, {n: each.top_k for n, each in enumerate(samplings) if 0 < each.top_k < vocabulary})
    probabilities = torch.softmax(logits, dim=-1)
    for n, each in enumerate(samplings):
        if each.top_p < 1.0:
            _cut_to_top_p(probabilities[n], each.top_p)
    return probabilities


def _cut_to_min_p(logits: torch.Tensor, rows: dict[int, float]) -> None:
    """Keeps tokens that are at least so many times as likely as the likeliest."""
    for n, least in rows.items():
        logits[n].masked_fill_(logits[n] < logits[n].max() + math.log(least), -torch.inf)


def _cut_to_top_k(logits: torch.Tensor, rows: dict[int, int]) -> None:
    """Keeps so many of the likeliest tokens, and those as likely as the last of them."""
    for n, count in rows.items():
        logits[n].masked_fill_(logits[n] < torch.topk(logits[n], count).values[-1], -torch.inf)


def _cut_to_top_p(probabilities: torch.Tensor, share: float) -> None:
    """Keeps the likeliest tokens up to the one with which they reach the share; shape [vocabulary].

    Tokens less likely than (1 - share) / vocabulary make less than 1 - share together, so that none of them
    is kept: only the others are put in order.
    """
    candidates = (probabilities >= (1 - share) / len(probabilities)).nonzero().squeeze(1)
    values, order = probabilities[candidates].sort(descending=True)
    inside = values.cumsum(0) - values < share
    inside[0] = True
    chosen = candidates[order[inside]]
    likely = probabilities[chosen]
    probabilities.zero_()
    probabilities[chosen] = likely
