"""Whether a model can take several sequences in one call: by what it says of itself, then by trying.

A model that computed something else than alone would go unnoticed by everybody but its users. So before it
serves, two made-up sequences go through in parts and beside each other, and their logits must be those of the
model as it came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import structlog
import torch

from runtime.engines.base import OneAtATime
from runtime.engines.transformers.batching.alone import Alone, Why
from runtime.engines.transformers.batching.pools import Row
from runtime.engines.transformers.batching.shared import ATTENTION, Shared

log = structlog.get_logger()

_KNOWN_LAYERS = {"full_attention", "sliding_attention"}
_LENGTH_DEPENDENT = {"dynamic", "longrope"}
_TOLERANCE = 0.05  # of the spread of the logits; another order of additions makes 0.01 in bfloat16


class Batching(Protocol):
    """Sequences of one model. `rows`: how many at the same time, None where there is no limit. `in_parts`:
    whether a prompt may come in several steps. `column_bytes`: of one token's keys and values in all layers;
    what is held of them is counted in columns. `why`: `rows` is 1.
    """

    rows: int | None
    in_parts: bool
    column_bytes: int
    why: Why | None

    def open(self) -> Row:
        """A new sequence without tokens."""

    def close(self, row: Row) -> None:
        """The sequence's memory is free."""

    def shorten(self, longest: int) -> None:
        """No sequence will have more tokens than that."""

    def needed(self, lengths: Mapping[Row, int]) -> int:
        """Columns that are held at most while all rows grow to so many tokens, in whatever order."""

    def held(self, rows: Iterable[Row]) -> int:
        """Columns that are held for these rows, which are all there are."""

    def step(self, work: Sequence[tuple[Row, Sequence[int]]]) -> torch.Tensor:
        """Append tokens to rows: part of a prompt, or the token chosen last, which every row that has one
        must get. Returns the logits after the last token of each, shape [rows, vocabulary].
        """


def choose(model: Any, longest: int) -> Batching:
    """How to run this model; says so in the log where it is one sequence at a time.

    `longest`: tokens that a sequence can have.
    """
    why = _unfit(model.config.get_text_config(), longest)
    if why is None:
        before = model.config._attn_implementation
        expected = _alone(model)
        shared = Shared(model, longest)
        try:
            why = _differs(model, shared, expected)
        except Exception as error:  # models of other people's code fail in any way
            why = Why(OneAtATime.TRIAL_FAILED, f"{type(error).__name__}: {str(error)[:200]}")
        if why is None:
            return shared
        model.set_attn_implementation(before)
    log.warning("one answer at a time", model=type(model).__name__, reason=why.reason.value, why=why.message)
    return Alone(model, why)


def _unfit(config: Any, longest: int) -> Why | None:
    """What a short trial would not show."""
    layers = set(getattr(config, "layer_types", None) or ())
    if layers - _KNOWN_LAYERS:
        kinds = ", ".join(sorted(layers - _KNOWN_LAYERS))
        return Why(OneAtATime.LAYERS, f"it has layers that share nothing: {kinds}")
    for rope in _ropes(getattr(config, "rope_parameters", None) or {}):
        if rope.get("rope_type") not in _LENGTH_DEPENDENT:
            continue
        own = rope.get("original_max_position_embeddings") or config.max_position_embeddings
        if longest > own:
            return Why(
                OneAtATime.POSITIONS,
                f"its positions depend on the longest sequence; with --max_model_len={own} they do not",
            )
    return None


def _ropes(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """A model has one kind of positions, or one for each kind of layer."""
    nested = [each for each in parameters.values() if isinstance(each, dict)]
    return nested or [parameters]


def _trial(vocabulary: int) -> tuple[list[int], list[int]]:
    random = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, vocabulary, (14,), generator=random).tolist()
    return tokens[:9], tokens[9:]


def _alone(model: Any) -> list[torch.Tensor]:
    with torch.inference_mode():
        return [
            model(input_ids=torch.tensor([tokens], device=model.device)).logits[0, -1].float()
            for tokens in _trial(model.config.get_text_config().vocab_size)
        ]


def _differs(model: Any, shared: Shared, expected: Sequence[torch.Tensor]) -> Why | None:
    """Leaves the model with the shared attention."""
    config = model.config.get_text_config()
    model.set_attn_implementation(ATTENTION)
    if config._attn_implementation != ATTENTION:
        return Why(OneAtATime.ATTENTION, "its attention cannot be replaced")
    first, second = _trial(config.vocab_size)
    one, other = shared.open(), shared.open()
    shared.step([(one, first[:4]), (other, second[:2])])
    shared.step([(other, second[2:4]), (one, first[4:8])])
    assert shared.last is not None
    attended = shared.last.windows
    made = shared.step([(one, first[8:]), (other, second[4:])]).float()
    for row in (one, other):
        shared.close(row)
    if len(attended) != config.num_hidden_layers:
        count = f"{len(attended)} of its {config.num_hidden_layers} layers"
        return Why(OneAtATime.ATTENTION, f"{count} attend through the library's interface")
    if _windows_differ(config, attended):
        return Why(OneAtATime.ATTENTION, "its layers do not say their sliding window")
    for logits, wanted in zip(made, expected, strict=True):
        spread = float(wanted.max() - wanted.min())
        if not float((logits - wanted).abs().max()) <= _TOLERANCE * spread:
            return Why(OneAtATime.LOGITS, "its logits differ when sequences share a call")
    return None


def _windows_differ(config: Any, attended: dict[int, int | None]) -> bool:
    """A window longer than the trial has no effect in it, so what the layers asked for is compared."""
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if window is None or getattr(config, "use_sliding_window", True) is False:
        wanted = dict.fromkeys(attended)
    elif kinds is None:
        wanted = dict.fromkeys(attended, window)
    else:
        wanted = {n: window if kinds[n] == "sliding_attention" else None for n in attended}
    return attended != wanted
