"""What a model's vocabulary holds, alike on every backend."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.engines.base import EngineRefused


def require_known(prompt: Sequence[int], size: int) -> None:
    """Raises EngineRefused where the tokenizer has a token that the model has not: to look it up would end
    more than this request. `size`: of the model's vocabulary.
    """
    if prompt and (largest := max(prompt)) >= size:
        raise EngineRefused(
            f"The prompt holds token {largest}, which was added to the tokenizer and not to the model: that "
            f"knows tokens up to {size - 1}."
        )
