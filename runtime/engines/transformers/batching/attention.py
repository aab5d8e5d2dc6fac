"""Attention over sequences of different lengths whose new tokens stand in one row, one after the other.

The library lets a model's attention be replaced by a function (its AttentionInterface, made for servers). All
else in a model looks at each token alone, so one call can hold the next tokens of many sequences and parts of
new prompts, without padding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import scaled_dot_product_attention

from runtime.engines.transformers.batching.pools import Pool, Row


class Next:
    """One new token for each row of a pool, slot after slot."""

    def __init__(self, pool: Pool, device: torch.device) -> None:
        self._pool = pool
        self._slots = torch.arange(len(pool.rows), device=device)
        self._lengths = torch.tensor([row.length for row in pool.rows], device=device)
        self._columns = max(row.length for row in pool.rows) + 1
        self._masks: dict[int | None, torch.Tensor] = {}
        self.tokens = len(pool.rows)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, asked: Asked
    ) -> torch.Tensor:
        """As `Step.attend`."""
        keys, values = self._pool.layer(layer, key, value)
        keys[self._slots, :, self._lengths] = key
        values[self._slots, :, self._lengths] = value
        keys, values = (each[: self.tokens, :, : self._columns] for each in (keys, values))
        # Heads that share keys stand as several tokens of one head, so that no key is repeated.
        grouped = query.view(self.tokens, keys.shape[1], -1, query.shape[2])
        made = _attention(grouped, keys, values, self._mask(asked.window), asked)
        return made.reshape(self.tokens, query.shape[1], -1)

    def _mask(self, window: int | None) -> torch.Tensor:
        """Which columns each row sees; shape [rows, 1, 1, columns]."""
        if window not in self._masks:
            columns, lengths = (
                torch.arange(self._columns, device=self._slots.device),
                self._lengths.unsqueeze(1),
            )
            seen = columns <= lengths
            if window is not None:
                seen &= columns > lengths - window
            self._masks[window] = seen[:, None, None]
        return self._masks[window]


class Chunk:
    """The next tokens of one row's prompt; the row is alone in its pool."""

    def __init__(self, row: Row, tokens: int) -> None:
        assert row.pool is not None
        self._row, self._pool = row, row.pool
        self._masks: dict[int | None, torch.Tensor | None] = {}
        self.tokens = tokens

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, asked: Asked
    ) -> torch.Tensor:
        """As `Step.attend`."""
        held, slot = self._row.length, slice(self._row.slot, self._row.slot + 1)
        end = held + self.tokens
        keys, values = self._pool.layer(layer, key, value)
        keys[slot, :, held:end] = key.transpose(0, 1)
        values[slot, :, held:end] = value.transpose(0, 1)
        made = _attention(
            query.transpose(0, 1).unsqueeze(0),
            keys[slot, :, :end],
            values[slot, :, :end],
            self._mask(asked.window, query.device),
            asked,
        )
        return made[0].transpose(0, 1)

    def _mask(self, window: int | None, device: torch.device) -> torch.Tensor | None:
        """Which columns each token sees; shape [tokens, columns]. None: those up to its own."""
        if window not in self._masks:
            held, mask = self._row.length, None
            if held or window is not None:
                columns = torch.arange(held + self.tokens, device=device)
                positions = columns[held:].unsqueeze(1)
                mask = columns <= positions
                if window is not None:
                    mask &= columns > positions - window
            self._masks[window] = mask
        return self._masks[window]


class Asked:
    """What a model's layer asks of its attention besides the tokens."""

    def __init__(
        self,
        scaling: float | None,
        window: int | None,
        softcap: float | None,
        sinks: torch.Tensor | None,
    ) -> None:
        """`sinks`: per head, the logit of attending to nothing."""
        self.scaling, self.window, self.softcap, self.sinks = scaling, window, softcap, sinks


class Step:
    """One call of the model: the rows' next tokens, then the chunks."""

    def __init__(self, parts: Sequence[Next | Chunk]) -> None:
        self._parts = parts
        self.windows: dict[int, int | None] = {}
        """By layer that attended: its sliding window."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, asked: Asked
    ) -> torch.Tensor:
        """Keep keys and values, and attend. All are of shape [tokens, heads, width], as is the answer."""
        self.windows[layer] = asked.window
        made, first = [], 0
        for part in self._parts:
            last = first + part.tokens
            made.append(part.attend(layer, query[first:last], key[first:last], value[first:last], asked))
            first = last
        return torch.cat(made) if len(made) > 1 else made[0]


def _attention(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None, asked: Asked
) -> torch.Tensor:
    """`query`: shape [rows, heads, tokens, width]. No mask: each token sees those before it."""
    if not asked.softcap and asked.sinks is None:
        return scaled_dot_product_attention(
            query,
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None,
            scale=asked.scaling,
            enable_gqa=query.shape[1] != keys.shape[1],
        )
    repeated = query.shape[1] // keys.shape[1]
    keys, values = (each.repeat_interleave(repeated, 1) for each in (keys, values))
    scores = (query @ keys.transpose(2, 3)).float() * (asked.scaling or query.shape[3] ** -0.5)
    if asked.softcap:
        scores = torch.tanh(scores / asked.softcap) * asked.softcap
    if mask is None:
        mask = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril()
    scores = scores.masked_fill(~mask, -torch.inf)
    if asked.sinks is None:
        return scores.softmax(-1).to(values.dtype) @ values
    sinks = asked.sinks.float().view(1, query.shape[1], -1, 1).expand(len(scores), -1, -1, -1)
    sinks = sinks.expand(-1, -1, query.shape[2], -1)
    weights = torch.cat([scores, sinks], -1).softmax(-1)[..., :-1]
    return weights.to(values.dtype) @ values
