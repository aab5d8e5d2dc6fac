"""What vLLM is told on a CPU, and what is made of its last words. Nothing here loads vLLM."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime.engines.base import EngineRefused, Unsupported
from runtime.engines.vllm import defaults, importing, scoring
from runtime.engines.vllm.failures import explain_start
from runtime.failures import Failure, Reason
from runtime.state import BackendReason

_GIB = 1 << 30
SMOLLM2 = defaults.ModelSize(weights=269 * 10**6, cache_per_token=23_040, max_model_len=8192)


@pytest.mark.parametrize("gib", [3, 4, 6, 8, 64])
def test_the_cache_leaves_room_in_the_container(gib: float) -> None:
    cache = defaults.cache_bytes(int(gib * _GIB), SMOLLM2, 32)
    assert cache >= SMOLLM2.cache_per_token * SMOLLM2.max_model_len  # one whole sequence fits
    assert cache + 2.0 * _GIB + SMOLLM2.weights < gib * _GIB * 0.95
    assert cache <= 2 * _GIB


def test_no_more_cache_than_sequences_can_fill() -> None:
    small = defaults.ModelSize(weights=10**6, cache_per_token=1000, max_model_len=1024)
    assert defaults.cache_bytes(64 * _GIB, small, 4) == 4 * 1000 * 1024


def test_too_little_memory_is_said_with_numbers_and_flags() -> None:
    with pytest.raises(Failure) as failure:
        defaults.cache_bytes(int(2.6 * _GIB), SMOLLM2, 32)
    assert failure.value.reason is Reason.OUT_OF_MEMORY
    assert "2.6 GiB" in failure.value.message
    assert "180 MiB" in failure.value.message
    length = int(failure.value.message.split("--max_model_len=")[1].split()[0])
    shorter = defaults.ModelSize(SMOLLM2.weights, SMOLLM2.cache_per_token, length)
    assert defaults.cache_bytes(int(2.6 * _GIB), shorter, 32) > 0  # the advice works
    with pytest.raises(Failure) as hopeless:
        defaults.cache_bytes(2 * _GIB, SMOLLM2, 32)
    assert "--max_model_len" not in hopeless.value.message
    advised = float(hopeless.value.message.split("memory limit to ")[1].split()[0])
    assert defaults.cache_bytes(int((advised + 0.06) * _GIB), SMOLLM2, 32) > 0


def test_the_environment_gives_way_to_the_users() -> None:
    environ = {"VLLM_PORT": "tcp://10.0.0.1:80"}
    defaults.prepare_environment(4, environ)
    assert "VLLM_PORT" not in environ
    assert environ["OMP_NUM_THREADS"] == "3"
    assert environ["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    own = {
        "VLLM_PORT": "5000",
        "OMP_NUM_THREADS": "7",
        "VLLM_CPU_OMP_THREADS_BIND": "0-3",
        "OMP_WAIT_POLICY": "x",
    }
    before = dict(own)
    defaults.prepare_environment(4, own)
    assert before.items() <= own.items()


def test_the_model_shares_the_engines_process_unless_the_user_chose_otherwise() -> None:
    environ: dict[str, str] = {}
    defaults.prepare_environment(4, environ)
    assert defaults.computes_in_the_engines_process({"dtype"}, environ)
    assert not defaults.computes_in_the_engines_process({"tensor_parallel_size"}, environ)
    assert not defaults.computes_in_the_engines_process({"distributed_executor_backend"}, environ)
    assert not defaults.computes_in_the_engines_process(set(), {"VLLM_CPU_OMP_THREADS_BIND": "0-3"})


@pytest.mark.parametrize("flag", ["gpu_memory_utilization", "num_gpu_blocks_override"])
def test_the_user_may_size_the_cache(flag: str) -> None:
    assert defaults.chooses_cache({flag}, {})
    assert defaults.chooses_cache(set(), {"VLLM_CPU_KVCACHE_SPACE": "2"})
    assert not defaults.chooses_cache({"dtype"}, {})


@pytest.mark.parametrize(
    ("tokens", "newer_runner", "fits"),
    [(1137, False, True), (1138, False, False), (4096, False, False), (4096, True, True)],
)
def test_a_prompt_whose_logits_may_not_fit_is_refused(
    tokens: int, newer_runner: bool, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.8 x 600 MiB / (49152 x 9 bytes) = 1137.8 tokens in a step; the newer runner takes 1024 at a time."""
    monkeypatch.setattr("runtime.machine.memory_free", lambda: 600 * 2**20)
    model = SimpleNamespace(get_vocab_size=lambda: 49152, dtype=SimpleNamespace(itemsize=4))
    config = SimpleNamespace(
        model_config=model,
        scheduler_config=SimpleNamespace(max_num_batched_tokens=2048),
        device_config=SimpleNamespace(device_type="cpu"),
        use_v2_model_runner=newer_runner,
    )
    if fits:
        scoring.require_memory(config, tokens)
        return
    with pytest.raises(EngineRefused, match="--max_num_batched_tokens") as refused:
        scoring.require_memory(config, tokens)
    assert refused.value.param == "logprobs"


_PRINT = """
import subprocess, sys, time
from runtime.engines.vllm.output import OutputTail

tail = OutputTail()
with tail:
    subprocess.run(["printf", "%s\\n", *sys.argv[1:]], check=True)
until = time.monotonic() + 5
while len(tail._lines) < len(sys.argv) - 1 and time.monotonic() < until:
    time.sleep(0.01)
print(tail.cause())
print("direct", file=sys.stderr)
"""


def printed(*lines: str) -> subprocess.CompletedProcess[str]:
    """What is made of a child process's output, taken from its real file descriptors."""
    return subprocess.run(
        [sys.executable, "-c", _PRINT, *lines], capture_output=True, text=True, check=True, timeout=60
    )


def test_the_cause_is_found_among_what_the_engine_printed() -> None:
    done = printed(
        "(Worker pid=1) WARNING 11-22 [utils.py:1] falling back. Exception: could not create a primitive",
        "(Worker pid=1) ERROR 11-22 [worker.py:9] ValueError: Available memory on node 0 (0.2/3.0 GiB) "
        "is less",
        "(EngineCore pid=2) ERROR 11-22 [core.py:9] RuntimeError: Engine core initialization failed.",
    )
    assert done.stdout.splitlines()[-1] == "ValueError: Available memory on node 0 (0.2/3.0 GiB) is less"
    # Everything was passed on, and afterwards the process writes directly again.
    assert "could not create a primitive" in done.stderr
    assert done.stderr.endswith("direct\n")


def test_a_traceback_without_a_log_line_is_a_cause_too() -> None:
    assert (
        printed("Traceback:", "(EngineCore pid=2) OSError: no such file").stdout.strip()
        == "OSError: no such file"
    )
    assert printed("nothing wrong here: Error").stdout.strip() == "None"


def config(cache: int | None) -> SimpleNamespace:
    return SimpleNamespace(
        cache_config=SimpleNamespace(kv_cache_memory_bytes=cache, gpu_memory_utilization=0.92)
    )


@pytest.mark.parametrize(
    ("cause", "reason", "words"),
    [
        ("ValueError: Available memory on node 0 is less", Reason.OUT_OF_MEMORY, "--kv_cache_memory_bytes"),
        ("OutOfMemoryError: CUDA out of memory.", Reason.OUT_OF_MEMORY, "--gpu_memory_utilization"),
        ("RuntimeError: Insufficient space in /dev/shm: 160 MiB", Reason.OUT_OF_MEMORY, "emptyDir"),
        (
            # vLLM 0.32: vllm/v1/worker/utils.py, request_memory
            "ValueError: Free memory on device cuda:0 (20.0/80.0 GiB) on startup is less than desired GPU "
            "memory utilization (0.92, 73.6 GiB). Decrease GPU memory utilization or reduce GPU memory used "
            "by other processes.",
            Reason.OUT_OF_MEMORY,
            "use 60.0 GiB of this GPU: give the container its own GPU, or set --gpu_memory_utilization=0.23",
        ),
        (
            "ValueError: Free memory on device cuda:0 (1.0/80.0 GiB) on startup is less than desired GPU "
            "memory utilization (0.92, 73.6 GiB).",
            Reason.OUT_OF_MEMORY,
            "its own GPU.",
        ),
        (
            "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
            Reason.OUT_OF_MEMORY,
            "Raise --gpu_memory_utilization",
        ),
        (
            "AcceleratorError: CUDA error: CUDA-capable device(s) is/are busy or unavailable",
            Reason.BACKEND_UNAVAILABLE,
            "holds the GPU alone",
        ),
        ("KeyError: 'lm_head'", Reason.ENGINE_FAILED, "KeyError"),
    ],
)
def test_why_the_engine_did_not_start(cause: str, reason: Reason, words: str) -> None:
    failure = explain_start(RuntimeError("see above"), cause, config(_GIB))
    assert failure.reason is reason
    assert words in failure.message


@pytest.mark.parametrize(
    ("cache", "estimate", "message"),
    [
        (
            10 << 20,
            "",
            "One sequence of 8192 tokens needs 0.35 GiB of KV cache, and there are 0.01. Lower "
            "--max_model_len, or raise --kv_cache_memory_bytes (now 10485760) to 364M.",
        ),
        (
            None,
            "Based on the available memory, the estimated maximum model length is 2176. ",
            "One sequence of 8192 tokens needs 0.35 GiB of KV cache, and there are 0.10. Set "
            "--max_model_len=2176 or less, or raise --gpu_memory_utilization (now 0.92); else the model "
            "needs a larger GPU, or several (--tensor_parallel_size).",
        ),
    ],
)
def test_a_cache_too_small_for_one_sequence(cache: int | None, estimate: str, message: str) -> None:
    """vLLM 0.32's words, as it said them of SmolLM2 with --kv_cache_memory_bytes=10M."""
    cause = (
        "ValueError: To serve at least one request with the model's max seq len (8192), (0.35 GiB KV cache "
        f"is needed, which is larger than the available KV cache memory (0.1 GiB). {estimate}Try increasing "
        "`gpu_memory_utilization` (which also controls CPU memory on the CPU backend) or decreasing "
        "`max_model_len` when initializing the engine. See https://docs.vllm.ai/"
    )
    failure = explain_start(RuntimeError("see above"), cause, config(cache))
    assert (failure.reason, failure.message) == (Reason.OUT_OF_MEMORY, message)


def test_an_engine_killed_by_the_kernel_was_out_of_memory() -> None:
    error = RuntimeError("Engine core initialization failed. Failed core proc(s): {'EngineCore_0': -9}")
    assert explain_start(error, None, config(None)).reason is Reason.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("flags", "supported"), [("fpu sse4_2 avx", False), ("fpu avx2", True), ("fpu avx avx512f", True)]
)
def test_a_processor_that_would_end_vllm_with_an_illegal_instruction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, supported: bool
) -> None:
    """Known before vLLM is imported, so that another backend can serve."""
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(importing, "_is_cpu_build", lambda: True)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    if supported:
        importing._require_instructions(cpuinfo)
        return
    with pytest.raises(Unsupported, match="neither AVX2 nor AVX512") as refused:
        importing._require_instructions(cpuinfo)
    assert refused.value.reason is BackendReason.PLATFORM_UNSUPPORTED
