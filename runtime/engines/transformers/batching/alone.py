"""One sequence at a time, with whatever cache or state the model itself has."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from runtime.engines.base import OneAtATime
from runtime.engines.transformers.batching.pools import Row


@dataclass(frozen=True)
class Why:
    """Why a model runs one sequence at a time: a code, and a sentence for people."""

    reason: OneAtATime
    message: str


class Alone:
    """Implements `Batching` for every model of the library."""

    rows: int | None = 1
    in_parts = False

    def __init__(self, model: Any, why: Why) -> None:
        self.why: Why | None = why
        self._model = model
        self._accepted = inspect.signature(model.forward).parameters.keys()
        self._kind = "cache_params" if "cache_params" in self._accepted else "past_key_values"
        self._tokens: list[int] = []
        self._state: Any = None
        self.column_bytes = _column(model.config.get_text_config()) * model.dtype.itemsize

    def shorten(self, longest: int) -> None:
        """No sequence will have more tokens than that."""

    def needed(self, lengths: Mapping[Row, int]) -> int:
        """Columns of keys and values that are held while the row grows to so many tokens."""
        return max(lengths.values(), default=0)

    def held(self, rows: Iterable[Row]) -> int:
        """Columns that are held for the row."""
        return len(self._tokens)

    def open(self) -> Row:
        """A new sequence without tokens; the one before is closed."""
        self._tokens, self._state = [], None
        return Row()

    def close(self, row: Row) -> None:
        """The sequence's memory is free."""
        self._tokens, self._state = [], None

    def step(self, work: Sequence[tuple[Row, Sequence[int]]]) -> torch.Tensor:
        """Append tokens to the one row: its whole prompt, then one at a time. Returns the logits after the
        last, shape [1, vocabulary].
        """
        ((row, tokens),) = work
        self._tokens += tokens
        # A model that hands out nothing to go on from (RecurrentGemma) sees all again, as in `generate`.
        seen = self._tokens if self._state is None else list(tokens)
        inputs: dict[str, Any] = {"input_ids": torch.tensor([seen], device=self._model.device)}
        if "logits_to_keep" in self._accepted and not row.scored:
            inputs["logits_to_keep"] = 1
        with torch.inference_mode():
            output = self._model(**inputs, **{self._kind: self._state}, use_cache=True)
        self._state = getattr(output, self._kind, None)
        row.length += len(tokens)
        if row.scored:
            row.logits = output.logits[0, -len(tokens) :]
        logits: torch.Tensor = output.logits[:, -1]
        return logits


def _column(config: Any) -> int:
    """Numbers in one token's keys and values in all layers, going by the configuration: as many as if every
    layer kept all tokens, so more than that where some keep a window or a state. 0 without attention.
    """
    heads = getattr(config, "num_key_value_heads", None) or getattr(config, "num_attention_heads", None) or 0
    if not heads:
        return 0
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width)
