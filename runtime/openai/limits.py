"""What bounds a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.flags.bounds import Bounds

_NO_TOOLS = (
    "cannot be used: this model's chat template has no form of calls that the server knows; give it another "
    "template with --chat_template, or name the form with --tool_call_parser"
)


@dataclass(frozen=True)
class Limits:
    """What bounds a request, from flags and from the loaded model. `tool_form`: how the model writes calls of
    tools, None where it writes none. `structured`: the engine keeps answers within a grammar.
    """

    bounds: Bounds
    max_model_len: int
    vocab_size: int
    max_sequences: int
    max_logprobs: int
    default_sampling: Mapping[str, float]
    default_seed: int | None = None
    tool_form: str | None = None
    structured: bool = False

    @property
    def max_characters(self) -> int:
        """Text longer than this cannot fit; it is refused before it is tokenised."""
        return self.bounds.max_characters_per_token * self.max_model_len

    @property
    def why_no_tools(self) -> str:
        """What is wrong with a request that needs tools where the model has none."""
        return _NO_TOOLS


def are_token_ids(value: Sequence[Any], limits: Limits) -> bool:
    """Whether every element is a token of the model."""
    return all(type(each) is int and 0 <= each < limits.vocab_size for each in value)
