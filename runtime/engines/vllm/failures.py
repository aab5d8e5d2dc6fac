"""Why vLLM's engine did not start, with numbers and the flag to change."""

from __future__ import annotations

import re
from typing import Any

from runtime import machine
from runtime.failures import Failure, Reason, explain

_BUSY = re.compile(
    r"Free memory on device \S* ?\((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup", re.IGNORECASE
)
_SMALL = re.compile(
    r"max seq len \((?P<tokens>\d+)\), \((?P<needed>[\d.]+) GiB KV cache is needed, which is larger than the "
    r"available KV cache memory \((?P<there>[\d.]+) GiB\)(?:.*maximum model length is (?P<fits>\d+))?"
)
_KILLED = re.compile(r"Failed core proc\(s\): \{[^}]*-9")
_GIB = 1 << 30
# What vLLM and torch say, and what helps; the first that is found counts.
_CURES: tuple[tuple[str, Reason, str], ...] = (
    (
        r"/dev/shm",
        Reason.OUT_OF_MEMORY,
        " Mount an emptyDir of medium Memory at /dev/shm (512Mi is plenty).",
    ),
    (
        r"CUDA-capable device\(s\) is/are busy|devices? (is|are) busy or unavailable",
        Reason.BACKEND_UNAVAILABLE,
        " Another process holds the GPU alone: give the container its own.",
    ),
    (
        r"No available memory for the cache",
        Reason.OUT_OF_MEMORY,
        " Raise --gpu_memory_utilization; else the model needs a larger GPU, or several "
        "(--tensor_parallel_size).",
    ),
    (
        r"out of memory|Available memory|KV cache|cannot allocate memory|MemoryError",
        Reason.OUT_OF_MEMORY,
        " Lower --kv_cache_memory_bytes (or --gpu_memory_utilization), --max_model_len or --max_num_seqs, or "
        "raise the container's memory limit.",
    ),
)


def explain_start(error: Exception, cause: str | None, config: Any) -> Failure:
    """A Failure from the exception in this process and the cause that the engine's process printed."""
    text = cause or str(error)
    if busy := _BUSY.search(text):
        return _busy(text, float(busy["free"]), float(busy["total"]))
    if small := _SMALL.search(text):
        return _small(config, small)
    for pattern, reason, cure in _CURES:
        if re.search(pattern, text, re.IGNORECASE):
            return Failure(reason, text + _cache(config) + cure)
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


def _cache(config: Any) -> str:
    size = config.cache_config.kv_cache_memory_bytes
    return f" The KV cache was to have {size / _GIB:.2f} GiB." if size else ""


def _small(config: Any, found: re.Match[str]) -> Failure:
    """A KV cache that holds less than the longest sequence."""
    size = config.cache_config.kv_cache_memory_bytes
    there, needed = size / _GIB if size else float(found["there"]), float(found["needed"])
    shorter = f"Set --max_model_len={found['fits']} or less" if found["fits"] else "Lower --max_model_len"
    if size:  # the next whole MiB above what vLLM rounded
        larger = f"raise --kv_cache_memory_bytes (now {size}) to {int((needed + 0.005) * 1024) + 1}M"
    else:
        larger = (
            f"raise --gpu_memory_utilization (now {config.cache_config.gpu_memory_utilization:g}); else the "
            f"model needs a larger GPU, or several (--tensor_parallel_size)"
        )
    return Failure(
        Reason.OUT_OF_MEMORY,
        f"One sequence of {found['tokens']} tokens needs {needed:g} GiB of KV cache, and there are "
        f"{there:.2f}. {shorter}, or {larger}.",
    )


def _busy(text: str, free: float, total: float) -> Failure:
    """A GPU whose memory others use. The share that would fit leaves a twentieth of what is free."""
    share = int(95 * free / total) / 100 if total else 0.0
    lower = f", or set --gpu_memory_utilization={share:g} or less" if share >= 0.05 else ""
    return Failure(
        Reason.OUT_OF_MEMORY,
        f"{text} Other processes use {total - free:.1f} GiB of this GPU: give the container its own GPU"
        f"{lower}.",
    )
