"""The sequences that are decoded together, one token each per step, and their shared key-value cache.

Sequences come and go between steps. The cache of all is padded on the left to the longest, so that the newest
token of each is in the last column; padding is masked, and positions count a sequence's own tokens only.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from runtime.engines.transformers import cache


class Batch:
    """Rows of one cache. A row is a sequence; its order is the order of joining."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._device = model.device
        self._accepted = inspect.signature(model.forward).parameters.keys()
        self._cache: Any = None
        self._lengths: list[int] = []  # tokens of each row in the cache
        self.can_grow: bool | None = None
        """Whether rows of different lengths can be decoded together; None until the first prompt shows what
        cache the model has. False with sliding windows, states, or a model that takes no positions: one row
        at a time then.
        """

    def __len__(self) -> int:
        return len(self._lengths)

    def join(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Add a row for each prompt. Returns the logits after its last token, shape [prompts, vocabulary]."""
        if len(self._lengths) + len(prompts) > 1 and not self.can_grow:
            raise ValueError("this model's cache holds one sequence at a time")
        lengths = [len(prompt) for prompt in prompts]
        logits, made = self._forward(self._padded(prompts, max(lengths)), None)
        if self.can_grow is None:
            self.can_grow = "position_ids" in self._accepted and cache.rows_can_differ(made)
        lengths = [*self._lengths, *lengths]
        self._cache = cache.merged(self._cache, made, max(lengths)) if self.can_grow else made
        self._lengths = lengths
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
        logits, self._cache = self._forward(inputs, self._cache)
        self._lengths = [length + 1 for length in self._lengths]
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, and the columns that only the dropped ones needed."""
        if len(rows) == len(self._lengths):
            return
        self._lengths = [self._lengths[row] for row in rows]
        if not rows:
            self._cache = None
            return
        cache.keep(self._cache, rows, max(self._lengths))

    def _padded(self, prompts: Sequence[Sequence[int]], columns: int) -> dict[str, Any]:
        if len(prompts) == 1:
            return {"input_ids": torch.tensor([list(prompts[0])], device=self._device)}
        missing = [columns - len(prompt) for prompt in prompts]
        rows = [[0] * count + list(prompt) for count, prompt in zip(missing, prompts, strict=True)]
        positions = torch.arange(columns) - torch.tensor(missing).unsqueeze(1)
        inputs = {
            "input_ids": torch.tensor(rows),
            "attention_mask": (positions >= 0).long(),
            "position_ids": positions.clamp(min=0),
        }
        return {name: each.to(self._device) for name, each in inputs.items()}

    def _forward(self, inputs: dict[str, Any], past: Any) -> tuple[torch.Tensor, Any]:
        """The logits after each row's last token, and the model's cache."""
        kind = "cache_params" if "cache_params" in self._accepted else "past_key_values"
        if "logits_to_keep" in self._accepted:
            inputs["logits_to_keep"] = 1
        with torch.inference_mode():
            output = self._model(**inputs, **{kind: past}, use_cache=True)
        logits: torch.Tensor = output.logits[:, -1]
        return logits, getattr(output, kind)
