"""What bounds a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Limits:
    """What bounds a request, from flags and from the loaded model."""

    max_model_len: int
    vocab_size: int
    max_sequences: int
    max_logprobs: int
    default_sampling: Mapping[str, float]
    default_seed: int | None = None

    @property
    def max_characters(self) -> int:
        """Text longer than this cannot fit; it is refused before it is tokenised."""
        return 32 * self.max_model_len


def are_token_ids(value: Sequence[Any], limits: Limits) -> bool:
    """Whether every element is a token of the model."""
    return all(type(each) is int and 0 <= each < limits.vocab_size for each in value)
