"""How the states of a text's tokens become one vector, alike on every backend."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from runtime.engines.base import NotFinite
from runtime.failures import Failure, Reason

_DECODERS = ("CausalLM", "LMHead", "Qwen", "Llama", "Mistral", "Gemma")


class Pooling(StrEnum):
    """Named as in sentence-transformers' files, after `pooling_mode_`."""

    CLS = "cls_token"
    LAST = "lasttoken"
    MEAN = "mean_tokens"


def require_finite(vector: Sequence[float]) -> None:
    """Raises NotFinite: JSON has no such numbers, and nothing is near such a vector."""
    if not all(map(math.isfinite, vector)):
        raise NotFinite("the model's vector of this text is not finite")


def pooling_of(path: Path) -> Pooling:
    """As sentence-transformers' own file in the model's folder says; without one the last token of a decoder,
    where only that has seen all others, and the mean of an encoder. Raises Failure.
    """
    file = path / "1_Pooling" / "config.json"
    if file.is_file():
        said = json.loads(file.read_text())
        for each in Pooling:
            if said.get(f"pooling_mode_{each.value}"):
                return each
        raise Failure(
            Reason.MODEL_UNSUPPORTED, f"{file.name} asks for a pooling other than mean, cls and last."
        )
    config = path / "config.json"
    architectures = json.loads(config.read_text()).get("architectures") if config.is_file() else None
    names = " ".join(architectures or ())
    return Pooling.LAST if any(word in names for word in _DECODERS) else Pooling.MEAN
