"""A key-value cache that grows in place.

The library's own layer copies everything that it holds for each new token; with 32 rows of a few hundred
tokens that is hundreds of megabytes a step. This one keeps room for more and copies when that is used up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM = 64  # columns


class _Layer(DynamicLayer):  # type: ignore[misc]
    """`keys` and `values`: shape [rows, heads, columns, width], the first columns of a larger tensor."""

    keys: torch.Tensor
    values: torch.Tensor
    _room: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append columns. Returns all keys and values."""
        held = self.keys.shape[2]
        columns = held + key_states.shape[2]
        if self._room is None or self._room[0].shape[2] < columns:
            self._room = _roomy(self.keys, columns), _roomy(self.values, columns)
        keys, values = self._room
        keys[:, :, held:columns] = key_states
        values[:, :, held:columns] = value_states
        self.keys, self.values = keys[:, :, :columns], values[:, :, :columns]
        return self.keys, self.values

    def put(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Hold these in place of what is held."""
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self.keys, self.values, self._room = keys, values, None


def rows_can_differ(cache: Any) -> bool:
    """Whether sequences of different lengths can share such a cache: not with sliding windows or states."""
    return isinstance(cache, DynamicCache) and all(
        type(layer) in (DynamicLayer, _Layer) for layer in cache.layers
    )


def merged(left: Any, right: Any, columns: int) -> Any:
    """The rows of both caches (`left` None: of `right` alone) with the last `columns` columns of each, the
    shorter padded on the left.
    """
    cache = DynamicCache()
    for index, theirs in enumerate(right.layers):
        both = [theirs] if left is None else [left.layers[index], theirs]
        layer = _Layer()
        layer.put(
            torch.cat([_fitted(each.keys, columns) for each in both]),
            torch.cat([_fitted(each.values, columns) for each in both]),
        )
        cache.layers.append(layer)
    return cache


def keep(cache: Any, rows: Sequence[int], columns: int) -> None:
    """Drop all rows but these, and all columns but the last `columns`."""
    for layer in cache.layers:
        index = torch.tensor(list(rows), device=layer.keys.device)
        layer.put(*(_fitted(each.index_select(0, index), columns) for each in (layer.keys, layer.values)))


def _fitted(states: torch.Tensor, columns: int) -> torch.Tensor:
    missing = columns - states.shape[2]
    return torch.nn.functional.pad(states, (0, 0, missing, 0)) if missing else states


def _roomy(states: torch.Tensor, columns: int) -> torch.Tensor:
    rows, heads, held, width = states.shape
    # Zeros, not whatever was in memory: attention multiplies masked columns by nothing, and nothing times
    # not-a-number is not-a-number.
    room = states.new_zeros(rows, heads, columns + _ROOM, width)
    room[:, :, :held] = states
    return room
