"""The sequences that are decoded together, one token each per step, and their shared key-value cache.

Sequences come and go between steps. The cache of all is padded on the left to the longest, so that the newest
token of each is in the last column; padding is masked, and positions count a sequence's own tokens only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class Batch:
    """Rows of one cache. A row is a sequence; its order is the order of joining."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._device = model.device
        self._cache: Any = None
        self._lengths: list[int] = []  # tokens of each row in the cache
        self.can_grow = True
        """False where the cache cannot be padded (sliding windows, states): one row at a time then."""

    def __len__(self) -> int:
        return len(self._lengths)

    def join(self, prompt: Sequence[int]) -> torch.Tensor:
        """Add a row for a prompt. Returns the logits after its last token, shape [vocabulary]."""
        if self._lengths and not self.can_grow:
            raise ValueError("this model's cache holds one sequence at a time")
        tokens = torch.tensor([list(prompt)], device=self._device)
        with torch.inference_mode():
            output = self._model(input_ids=tokens, use_cache=True, logits_to_keep=1)
        cache = output.past_key_values
        self.can_grow = isinstance(cache, DynamicCache) and all(
            type(layer) is DynamicLayer for layer in cache.layers
        )
        self._cache = _merged(self._cache, cache) if self._lengths else cache
        self._lengths.append(len(prompt))
        logits: torch.Tensor = output.logits[0, -1]
        return logits

    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Append one token to each row. Returns the logits after it, shape [rows, vocabulary]."""
        lengths = torch.tensor(self._lengths, device=self._device)
        columns = max(self._lengths) + 1
        inputs: dict[str, Any] = {"input_ids": torch.tensor(tokens, device=self._device).unsqueeze(1)}
        if self.can_grow:
            # The first columns of a row shorter than the longest are padding.
            inputs["attention_mask"] = (
                torch.arange(columns, device=self._device) >= (columns - 1 - lengths).unsqueeze(1)
            ).long()
            inputs["position_ids"] = lengths.unsqueeze(1)
        with torch.inference_mode():
            output = self._model(**inputs, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        self._cache = output.past_key_values
        self._lengths = [length + 1 for length in self._lengths]
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, and the columns that only the dropped ones needed."""
        if len(rows) == len(self._lengths):
            return
        before = max(self._lengths)
        self._lengths = [self._lengths[row] for row in rows]
        if not rows:
            self._cache = None
            return
        index = torch.tensor(list(rows), device=self._device)
        unneeded = before - max(self._lengths)
        for layer in self._cache.layers:
            layer.keys = layer.keys.index_select(0, index)[:, :, unneeded:]
            layer.values = layer.values.index_select(0, index)[:, :, unneeded:]


def _merged(left: Any, right: Any) -> Any:
    """Both caches' rows in one, the shorter padded on the left to the longer's columns."""
    columns = max(left.get_seq_length(), right.get_seq_length())
    for ours, theirs in zip(left.layers, right.layers, strict=True):
        ours.keys = torch.cat([_padded(ours.keys, columns), _padded(theirs.keys, columns)])
        ours.values = torch.cat([_padded(ours.values, columns), _padded(theirs.values, columns)])
    return left


def _padded(states: torch.Tensor, columns: int) -> torch.Tensor:
    missing = columns - states.shape[2]
    return torch.nn.functional.pad(states, (0, 0, missing, 0)) if missing else states
