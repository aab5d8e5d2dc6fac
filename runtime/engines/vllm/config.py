"""From flags to vLLM's configuration, with what is known to be impossible said before weights are loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from runtime import machine
from runtime.engines.base import ModelFiles, Unsupported
from runtime.engines.pooling import Pooling, pooling_of
from runtime.engines.vllm import defaults
from runtime.failures import Failure, Reason, chain
from runtime.flags.settings import Settings
from runtime.hub.cache import stored_element_bytes, weight_bytes
from runtime.state import BackendReason

_UNKNOWN_ARCHITECTURE = (
    "are not supported for now",
    "not compatible with vLLM",
    "has no vLLM implementation",
)

log = structlog.get_logger()


def make_config(settings: Settings, files: ModelFiles) -> Any:
    """vLLM's own configuration object, once vLLM is imported. Raises Unsupported or Failure."""
    from vllm.platforms import current_platform  # noqa: PLC0415 - imported by now

    from runtime.engines.vllm.flags.arguments import engine_args, written  # noqa: PLC0415

    on_cpu = bool(current_platform.is_cpu())
    theirs = written(settings.engine_flags)
    sized = settings.kv_cache_memory_bytes is not None or defaults.chooses_cache(theirs)
    for dtype in (dtypes := _dtypes(settings, on_cpu)):
        config = _build(engine_args, settings, _fixed(settings, files, theirs, on_cpu) | {"dtype": dtype})
        if not on_cpu or sized:
            break
        try:
            config.cache_config.kv_cache_memory_bytes = _cache_bytes(config, files)
            break
        except Failure:
            if dtype == dtypes[-1]:
                raise
    return config


def _dtypes(settings: Settings, on_cpu: bool) -> list[str]:
    """The types to try, best first: the next is for when memory is too small."""
    if settings.dtype == "auto" and on_cpu and not machine.fast_half_precision():
        # Measured on AVX2: float32 gives 7 times the tokens per second at 32 streams.
        return ["float32", "auto"]
    return [settings.dtype]


def _build(make_args: Callable[..., Any], settings: Settings, fixed: dict[str, Any]) -> Any:
    """vLLM's configuration for these values. Raises Unsupported or Failure."""
    args = make_args(settings.engine_flags, fixed)
    try:
        config = args.create_engine_config()
    except Exception as error:
        raise _refusal(error) from error
    runner = config.model_config.runner_type
    if runner != "generate" and not settings.embeds:
        raise Failure(
            Reason.MODEL_UNSUPPORTED,
            f"This model is for {runner}, and --task=text_generation needs one that generates text.",
        )
    return config


def _fixed(settings: Settings, files: ModelFiles, written: set[str], on_cpu: bool) -> dict[str, Any]:
    """What this program decides, by vLLM's names."""
    fixed: dict[str, Any] = {
        "model": str(files.path),
        "tokenizer": str(files.tokenizer),
        "served_model_name": list(settings.names),
        "trust_remote_code": settings.trust_remote_code,
        "max_model_len": settings.max_model_len,
    }
    if settings.embeds:
        fixed |= {"runner": "pooling"} | _pooler(files, written)
    if settings.max_num_seqs is not None:
        fixed["max_num_seqs"] = settings.max_num_seqs
    elif on_cpu:
        fixed["max_num_seqs"] = defaults.MAX_NUM_SEQS
    if settings.kv_cache_memory_bytes is not None:
        fixed["kv_cache_memory_bytes"] = settings.kv_cache_memory_bytes
    # Compiling takes a minute or more of CPU and gains little on small machines.
    if on_cpu and not {"enforce_eager", "compilation_config", "optimization_level"} & written:
        fixed["enforce_eager"] = True
    if on_cpu and defaults.computes_in_the_engines_process(written):
        fixed["distributed_executor_backend"] = defaults.IN_ONE_PROCESS
    return fixed


def _pooler(files: ModelFiles, written: set[str]) -> dict[str, Any]:
    from vllm.config import PoolerConfig  # noqa: PLC0415 - vLLM is imported by now

    if "pooler_config" in written:
        return {}
    names = {Pooling.CLS: "CLS", Pooling.LAST: "LAST", Pooling.MEAN: "MEAN"}
    return {"pooler_config": PoolerConfig(seq_pooling_type=names[pooling_of(files.path)])}


def _cache_bytes(config: Any, files: ModelFiles) -> int:
    model, parallel = config.model_config, config.parallel_config
    element = model.dtype.itemsize
    per_token = (
        2
        * model.get_num_layers(parallel)
        * model.get_num_kv_heads(parallel)
        * model.get_head_size()
        * element
    )
    weights = weight_bytes(files.path)
    saved = stored_element_bytes(files.path)
    if saved and saved < element:
        weights = weights * element // saved
    size = defaults.ModelSize(weights, per_token, model.max_model_len)
    memory = machine.memory_limit() or machine.memory_available()
    chosen = defaults.cache_bytes(memory, size, config.scheduler_config.max_num_seqs)
    log.info(
        "kv cache sized",
        bytes=chosen,
        tokens=chosen // per_token,
        memory=memory,
        flag="--kv_cache_memory_bytes",
        dtype=str(model.dtype),
    )
    return chosen


def _refusal(error: Exception) -> Exception:
    """What an exception from building the configuration means."""
    for each in chain(error):
        if isinstance(each, Failure | Unsupported):
            return each
    text = next(" ".join(str(each).split()) for each in chain(error))
    if "does not support `--runner pooling`" in text:
        return Unsupported(BackendReason.TASK_UNSUPPORTED, "vLLM makes no embeddings with this model")
    if any(words in text for words in _UNKNOWN_ARCHITECTURE):
        return Unsupported(
            BackendReason.ARCHITECTURE_UNSUPPORTED, f"vLLM does not know this model: {_short(text)}"
        )
    if "does not recognize this architecture" in text:
        return Failure(Reason.MODEL_UNSUPPORTED, f"Neither backend knows this model: {_short(text)}")
    if "config.json" in text or "JSONDecodeError" in text:
        return Failure(Reason.MODEL_INVALID, f"The model's configuration cannot be read: {_short(text)}")
    return Failure(
        Reason.INVALID_ARGUMENT, f"vLLM refuses this combination of model and flags: {_short(text)}"
    )


def _short(text: str) -> str:
    """The part of a pydantic message that says something."""
    text = text.split("Value error, ", 1)[-1].split(" [type=", 1)[0]
    return text.split(" Supported architectures:", 1)[0][:700]
