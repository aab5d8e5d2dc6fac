"""Loading a causal language model and its tokenizer from disk, with failures that say what to change."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from runtime import machine
from runtime.engines.base import ModelFiles
from runtime.engines.transformers.memory import Room, room
from runtime.engines.transformers.progress import weights_counted
from runtime.failures import Failure, Reason, explain
from runtime.hub.cache import stored_element_bytes, weight_bytes
from runtime.state import Progress
from runtime.text.tokenizer import HubTokenizer

if TYPE_CHECKING:
    from runtime.engines.transformers.batching.choose import Batching

# Values of generation_config.json that requests may leave out, with the values that mean "off".
_SAMPLED = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
_PROGRAM_BYTES = 2 << 30  # the program with torch and room for the cache
log = structlog.get_logger()

_DTYPES = {"half": "float16", "float": "float32"}


@dataclass(frozen=True)
class Loaded:
    """A model ready to decode."""

    model: Any
    batching: Batching
    tokenizer: HubTokenizer
    max_model_len: int
    columns: int
    """Tokens whose keys and values may be held; 0: the model keeps nothing by the token."""
    ends: frozenset[int]
    """Tokens that end a text."""
    default_sampling: Mapping[str, float]


def load(
    files: ModelFiles,
    *,
    dtype: str,
    max_model_len: int | None,
    kv_cache_memory_bytes: int | None,
    trust_remote_code: bool,
    chat_template: str | None,
    report: Callable[[Progress], None],
) -> Loaded:
    """Blocks for seconds to minutes. Raises Failure."""
    # Threads that wait by spinning stall each other as soon as another process wants their core: beside one
    # busy process two spinning threads gave 0.6 tokens/s on two cores, two sleeping ones 6 to 13.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch  # noqa: PLC0415 - loads for seconds
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()
    torch.set_num_threads(max(1, machine.processors() - 1))  # one is left to the event loop
    options = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(files.path, **options)
        _check_kind(config)
        length = _model_length(config, max_model_len)
        tokenizer = AutoTokenizer.from_pretrained(files.tokenizer, **options)
        with weights_counted(report):
            model = AutoModelForCausalLM.from_pretrained(
                files.path, config=config, dtype=_torch_dtype(torch, dtype, files.path), **options
            )
    except ValueError as error:
        if any(words in str(error) for words in ("Unrecognized", "does not recognize", "trust_remote_code")):
            raise Failure(
                Reason.MODEL_UNSUPPORTED, f"transformers cannot load this model: {error}"
            ) from error
        raise explain(error, doing="loading the model with transformers") from error
    except Failure:
        raise
    except Exception as error:
        raise explain(error, doing="loading the model with transformers") from error
    if torch.cuda.is_available():
        model = model.to("cuda")
    model.eval()
    from runtime.engines.transformers.batching.choose import choose  # noqa: PLC0415 - loads torch

    vocabulary = config.get_text_config().vocab_size
    batching = choose(model, length)
    fixed = max_model_len is not None and max_model_len > 0
    memory = _room(model, batching, length, asked=kv_cache_memory_bytes, fixed_length=fixed)
    return Loaded(
        model=model,
        batching=batching,
        tokenizer=HubTokenizer(tokenizer, vocab_size=vocabulary, chat_template=_template(chat_template)),
        max_model_len=memory.max_model_len,
        columns=memory.columns,
        ends=_ends(model.generation_config, tokenizer),
        default_sampling=_default_sampling(files.path),
    )


def _check_kind(config: Any) -> None:
    """The library loads some models as what they are not, and they answer nonsense."""
    if config.is_encoder_decoder:
        raise Failure(
            Reason.MODEL_UNSUPPORTED,
            f"{config.model_type} is an encoder with a decoder; this server serves decoders only",
        )
    if any(name.endswith("ForMaskedLM") for name in config.architectures or ()):
        raise Failure(
            Reason.MODEL_UNSUPPORTED,
            f"{config.model_type} fills gaps and writes no text; for embeddings use --task=text_embedding",
        )


def _room(model: Any, batching: Batching, length: int, *, asked: int | None, fixed_length: bool) -> Room:
    """The memory for keys and values, said in the log. Raises Failure."""
    import torch  # noqa: PLC0415

    free = torch.cuda.mem_get_info()[0] if model.device.type == "cuda" else machine.memory_free()
    made = room(batching.column_bytes, length, free=free, asked=asked, fixed_length=fixed_length)
    batching.shorten(made.max_model_len)
    log.info(
        "kv cache sized",
        bytes=made.columns * batching.column_bytes,
        tokens=made.columns,
        free=free,
        flag="--kv_cache_memory_bytes",
        dtype=str(model.dtype),
    )
    if made.max_model_len < length:
        log.warning("context shortened to what memory holds", max_model_len=made.max_model_len, model=length)
    return made


def _model_length(config: Any, asked: int | None) -> int:
    """The context length: the model's own, or a shorter one that was asked for."""
    text = config.get_text_config()
    own = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None) or 2048
    if asked is None or asked <= 0:
        return int(own)
    if asked > own:
        raise Failure(
            Reason.INVALID_ARGUMENT,
            f"--max_model_len={asked} is more than the {own} positions that the model has; "
            f"use --max_model_len={own} or less",
        )
    return asked


def _torch_dtype(torch: Any, name: str, path: Path) -> Any:
    """A torch dtype, or "auto" for the one the weights were saved in.

    On a processor that is slow with 16-bit floats "auto" is float32, if that fits: a batch of 32 is then
    three times as fast.
    """
    if name != "auto":
        return getattr(torch, _DTYPES.get(name, name))
    if torch.cuda.is_available() or machine.fast_half_precision() or stored_element_bytes(path) != 2:
        return "auto"
    room = machine.memory_limit() or machine.memory_available()
    return torch.float32 if 2 * weight_bytes(path) + _PROGRAM_BYTES < room else "auto"


def _ends(generation: Any, tokenizer: Any) -> frozenset[int]:
    ends = generation.eos_token_id if generation.eos_token_id is not None else tokenizer.eos_token_id
    if ends is None:
        return frozenset()
    return frozenset(ends if isinstance(ends, list) else [ends])


def _default_sampling(path: Path) -> dict[str, float]:
    """What generation_config.json itself says: the library's defaults are not the model's wishes."""
    from transformers import GenerationConfig  # noqa: PLC0415 - loads for seconds

    if not (path / "generation_config.json").is_file():
        return {}
    said = GenerationConfig.from_pretrained(path).to_diff_dict()
    return {
        name: float(said[name])
        for name, off in _SAMPLED.items()
        if isinstance(said.get(name), (int, float)) and said[name] != off
    }


def _template(given: str | None) -> str | None:
    """A chat template: the text itself, or a file that holds it."""
    if given and "{" not in given and Path(given).is_file():
        return Path(given).read_text()
    return given
