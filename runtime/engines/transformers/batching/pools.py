"""Keys and values of many sequences, those of a similar length side by side in one tensor.

A pool has slots of one capacity; a sequence that outgrows its slot moves to a pool with twice as much. So no
sequence costs memory or time for the length of another, and no step copies what is held.

What is held is counted in columns: a column is one token's keys and values in all layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

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

    @property
    def slots(self) -> int:
        """How many there are, used or not."""
        return max(map(len, self._keys.values()), default=0)

    def layer(
        self, index: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The layer's tensors; `keys` and `values`, of shape [tokens, heads, width], show what they hold."""
        held = self._keys.get(index)
        if held is None or len(held) < len(self.rows):
            # The old tensor of each kind goes before the next one grows.
            self._keys[index] = self._roomy(held, keys)
            del held
            self._values[index] = self._roomy(self._values.get(index), values)
        return self._keys[index], self._values[index]

    def move_in(self, row: Row) -> None:
        """Take a row over from the pool in which it is, if any."""
        source, slot = row.pool, row.slot
        target = len(self.rows)
        self.rows.append(row)
        if source is not None:
            for index in list(source._keys):
                keys, values = source._keys[index], source._values[index]
                ours = self.layer(index, keys[0].transpose(0, 1), values[0].transpose(0, 1))
                for mine, theirs in zip(ours, (keys, values), strict=True):
                    mine[target, :, : row.length] = theirs[slot, :, : row.length]
                if len(source.rows) == 1:  # layer after layer, so that it is never held twice
                    del source._keys[index], source._values[index], keys, values, theirs
            source.remove(row)
        row.pool, row.slot = self, target

    def remove(self, row: Row) -> None:
        """Free the row's slot; the last one closes the hole. Half-empty tensors are made smaller."""
        last = self.rows.pop()
        if last is not row:
            for tensor in (*self._keys.values(), *self._values.values()):
                tensor[row.slot, :, : last.length] = tensor[last.slot, :, : last.length]
            last.slot = row.slot
            self.rows[row.slot] = last
        row.pool = None
        if not self.rows:
            self._keys, self._values = {}, {}
        elif (wanted := slots_for(len(self.rows))) <= self.slots // 2:
            for tensors in (self._keys, self._values):
                for index in tensors:
                    tensors[index] = tensors[index][:wanted].clone()

    def column_bytes(self) -> int:
        """Of one token's keys and values in all layers, once there are any."""
        tensors = (*self._keys.values(), *self._values.values())
        return sum(tensor[0, :, 0].numel() * tensor.element_size() for tensor in tensors)

    def _roomy(self, held: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
        # Zeros, not whatever was in memory: attention weighs masked columns with nothing, and nothing times
        # not-a-number is not-a-number.
        room = like.new_zeros(slots_for(len(self.rows)), like.shape[1], self.capacity, like.shape[2])
        if held is not None:
            room[: len(held)] = held
        return room


def slots_for(rows: int) -> int:
    """A few more than rows, up to a quarter, so that not every row that joins has all others copied."""
    step = max(1, (1 << rows.bit_length()) // 8)
    return -(-rows // step) * step


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

    def shorten(self, longest: int) -> None:
        """No sequence will have more tokens than that."""
        self._longest = longest

    def capacity(self, tokens: int) -> int:
        """Tokens of the slots that hold so many."""
        return min(max(_SMALLEST, 1 << (tokens - 1).bit_length()), max(self._longest, tokens))

    def needed(self, lengths: Mapping[Row, int]) -> int:
        """Columns that are held at most while all rows grow to so many tokens, in whatever order."""
        moving = {row for row, tokens in lengths.items() if not self._is_in(row, tokens)}
        joining = Counter(self.capacity(lengths[row]) for row in moving)
        columns = 0
        for capacity in self._pools.keys() | joining.keys():
            pool, more = self._pools.get(capacity, Pool(capacity)), joining[capacity]
            alone = len(pool.rows) == 1 and pool.rows[0] in moving
            if more or not alone:  # a row alone goes from its pool as it comes into another
                columns += capacity * max(pool.slots, slots_for(len(pool.rows) + more))
        return columns

    def held(self, rows: Iterable[Row]) -> int:
        """Columns that are held for these rows, which are all there are."""
        pools = {row.pool for row in rows if row.pool is not None}
        return sum(pool.capacity * pool.slots for pool in pools)

    def _is_in(self, row: Row, tokens: int) -> bool:
        pool = self._pools.get(self.capacity(tokens))
        return pool is not None and row.pool is pool
