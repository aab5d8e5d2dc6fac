"""Why vLLM's engine did not start, with numbers and the flag to change."""

from __future__ import annotations

import re
from typing import Any

from runtime import machine
from runtime.failures import Failure, Reason, explain

_MEMORY = re.compile(
    r"out of memory|Available memory|No available memory|KV cache|cannot allocate memory|MemoryError", re.I
)
_KILLED = re.compile(r"Failed core proc\(s\): \{[^}]*-9")
_GIB = 1 << 30


def explain_start(error: Exception, cause: str | None, config: Any) -> Failure:
    """A Failure from the exception in this process and the cause that the engine's process printed."""
    text = cause or str(error)
    if "/dev/shm" in text:
        return Failure(
            Reason.OUT_OF_MEMORY, f"{text}. Mount an emptyDir of medium Memory at /dev/shm (512Mi is plenty)."
        )
    cache = config.cache_config.kv_cache_memory_bytes
    if _MEMORY.search(text):
        now = f" The KV cache was to have {cache / _GIB:.2f} GiB." if cache else ""
        return Failure(
            Reason.OUT_OF_MEMORY,
            f"{text}{now} Lower --kv_cache_memory_bytes (or --gpu_memory_utilization), --max_model_len or "
            f"--max_num_seqs, or raise the container's memory limit.",
        )
    if _KILLED.search(str(error)) and cause is None:
        limit = machine.memory_limit()
        size = f" of {limit / _GIB:.1f} GiB" if limit else ""
        return Failure(
            Reason.OUT_OF_MEMORY,
            f"The kernel killed vLLM's engine process while it loaded, most likely over the memory "
            f"limit{size}. "
            f"Raise the limit, or lower --max_model_len.",
        )
    if cause is not None:
        return Failure(Reason.ENGINE_FAILED, f"vLLM's engine did not start: {cause}")
    return explain(error, doing="starting vLLM's engine")
