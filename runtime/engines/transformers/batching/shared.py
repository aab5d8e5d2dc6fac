"""The next tokens of many sequences, and parts of new prompts, in one call of the model."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from transformers import AttentionInterface

from runtime.engines.transformers.batching.alone import Why
from runtime.engines.transformers.batching.attention import Asked, Chunk, Next, Step
from runtime.engines.transformers.batching.pools import Pools, Row

ATTENTION = "stoker"
_current = threading.local()


def _attend(  # noqa: PLR0917 - the library's signature
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: object,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Shape [1, heads, tokens, width] in, [1, tokens, heads, width] out."""
    asked = Asked(scaling, sliding_window, softcap, s_aux)
    step: Step = _current.step
    query, key, value = (each[0].transpose(0, 1) for each in (query, key, value))
    return step.attend(module.layer_idx, query, key, value, asked).unsqueeze(0), None


AttentionInterface.register(ATTENTION, _attend)


class Shared:
    """Implements `Batching` for a model whose attention is the function above."""

    def __init__(self, model: Any, longest: int) -> None:
        """`longest`: tokens that a sequence can have."""
        self._model = model
        self._device = model.device
        self._pools = Pools(longest)
        self._keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.last: Step | None = None
        self.column_bytes = 0

    rows: int | None = None
    in_parts = True
    why: Why | None = None

    def open(self) -> Row:
        """A new sequence without tokens."""
        return Row()

    def close(self, row: Row) -> None:
        """The sequence's memory is free."""
        if row.pool is not None:
            row.pool.remove(row)

    def shorten(self, longest: int) -> None:
        """No sequence will have more tokens than that."""
        self._pools.shorten(longest)

    def needed(self, lengths: Mapping[Row, int]) -> int:
        """Columns of keys and values that are held at most while all rows grow to so many tokens."""
        return self._pools.needed(lengths)

    def held(self, rows: Iterable[Row]) -> int:
        """Columns that are held for these rows, which are all there are."""
        return self._pools.held(rows)

    def step(self, work: Sequence[tuple[Row, Sequence[int]]]) -> torch.Tensor:
        """Append tokens to rows. Every row that has more than its first part is to be in the work. Returns
        the logits after the last token of each, shape [rows, vocabulary].
        """
        nexts = {row: n for n, (row, tokens) in enumerate(work) if len(tokens) == 1}
        chunks = [n for n, (_, tokens) in enumerate(work) if len(tokens) > 1]
        for row in nexts:
            self._pools.settle(row)
        parts: list[Next | Chunk] = []
        order: list[int] = []
        for pool in self._pools:
            parts.append(Next(pool, self._device))
            order += [nexts[row] for row in pool.rows]
        for n in chunks:
            row, tokens = work[n]
            self._pools.private(row, len(tokens))
            parts.append(Chunk(row, len(tokens)))
        order += chunks
        logits = self._call(Step(parts), [work[n] for n in order])
        for row, tokens in work:
            row.length += len(tokens)
        if not self.column_bytes and row.pool is not None:
            self.column_bytes = row.pool.column_bytes()
        back = [0] * len(order)
        for place, n in enumerate(order):
            back[n] = place
        return logits if back == sorted(back) else logits[back]

    def _call(self, step: Step, work: Sequence[tuple[Row, Sequence[int]]]) -> torch.Tensor:
        tokens = [token for _, part in work for token in part]
        positions = [row.length + n for row, part in work for n in range(len(part))]
        wanted: list[int] = []  # whose logits
        lasts: list[int] = []  # of these, those after each row's last token
        end = 0
        for row, part in work:
            end += len(part)
            wanted += range(end - len(part) if row.scored else end - 1, end)
            lasts.append(len(wanted) - 1)
        kept = torch.tensor(wanted, device=self._device)
        inputs: dict[str, Any] = {"logits_to_keep": kept} if self._keeps else {}
        self.last = _current.step = step
        with torch.inference_mode():
            logits: torch.Tensor = self._model(
                input_ids=torch.tensor([tokens], device=self._device),
                position_ids=torch.tensor([positions], device=self._device),
                use_cache=False,
                **inputs,
            ).logits[0]
        logits = logits if self._keeps else logits[kept]
        if not any(row.scored for row, _ in work):
            return logits
        for (row, part), last in zip(work, lasts, strict=True):
            row.logits = logits[last + 1 - len(part) : last + 1] if row.scored else None
        return logits[lasts]
