"""Keys and values of many sequences, those of a similar length side by side in one tensor.

A pool has slots of one capacity; a sequence that outgrows its slot moves to a pool with twice as much. So no
sequence costs memory or time for the length of another, and no step copies what is held.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

_SMALLEST = 64  # tokens


class Row:
    """One sequence. `length`: tokens held. `scored`: a step is to leave the logits after each of its tokens
    in `logits`, of shape [tokens, vocabulary].
    """

    __slots__ = ("length", "logits", "pool", "scored", "slot")

    def __init__(self) -> None:
        self.length = 0
        self.scored = False
        self.logits: torch.Tensor | None = None
        self.pool: Pool | None = None
        self.slot = 0


class Pool:
    """Slots of `capacity` tokens; those in use are the first ones, without a hole."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.rows: list[Row] = []
        self._keys: dict[int, torch.Tensor] = {}  # by layer; shape [slots, heads, capacity, width]
        self._values: dict[int, torch.Tensor] = {}

    def layer(
        self, index: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The layer's tensors; `keys` and `values`, of shape [tokens, heads, width], show what they hold."""
        held = self._keys.get(index)
        if held is None or len(held) < len(self.rows):
            self._keys[index] = self._roomy(held, keys)
            self._values[index] = self._roomy(self._values.get(index), values)
        return self._keys[index], self._values[index]

    def move_in(self, row: Row) -> None:
        """Take a row over from the pool in which it is, if any."""
        source, slot = row.pool, row.slot
        target = len(self.rows)
        self.rows.append(row)
        if source is not None:
            for index, keys in source._keys.items():
                values = source._values[index]
                ours = self.layer(index, keys[0].transpose(0, 1), values[0].transpose(0, 1))
                for mine, theirs in zip(ours, (keys, values), strict=True):
                    mine[target, :, : row.length] = theirs[slot, :, : row.length]
            source.remove(row)
        row.pool, row.slot = self, target

    def remove(self, row: Row) -> None:
        """Free the row's slot; the last one closes the hole."""
        last = self.rows.pop()
        if last is not row:
            for tensor in (*self._keys.values(), *self._values.values()):
                tensor[row.slot, :, : last.length] = tensor[last.slot, :, : last.length]
            last.slot = row.slot
            self.rows[row.slot] = last
        row.pool = None
        if not self.rows:
            self._keys, self._values = {}, {}

    def _roomy(self, held: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
        slots = 1 << (len(self.rows) - 1).bit_length()
        # Zeros, not whatever was in memory: attention weighs masked columns with nothing, and nothing times
        # not-a-number is not-a-number.
        room = like.new_zeros(slots, like.shape[1], self.capacity, like.shape[2])
        if held is not None:
            room[: len(held)] = held
        return room


class Pools:
    """All sequences of a model."""

    def __init__(self, longest: int) -> None:
        """`longest`: tokens that a sequence can have."""
        self._longest = longest
        self._pools: dict[int, Pool] = {}

    def __iter__(self) -> Iterator[Pool]:
        return iter([pool for pool in self._pools.values() if pool.rows])

    def settle(self, row: Row) -> Pool:
        """The shared pool in which the row has room for one more token; it moves there if need be."""
        pool = self._pools.setdefault(capacity := self.capacity(row.length + 1), Pool(capacity))
        if row.pool is not pool:
            pool.move_in(row)
        return pool

    def private(self, row: Row, tokens: int) -> Pool:
        """A pool for a row alone, with room for so many more tokens."""
        if row.pool is None or row.pool.capacity < row.length + tokens:
            Pool(self.capacity(row.length + tokens)).move_in(row)
        assert row.pool is not None
        return row.pool

    def capacity(self, tokens: int) -> int:
        """Tokens of the slots that hold so many."""
        return min(max(_SMALLEST, 1 << (tokens - 1).bit_length()), max(self._longest, tokens))
