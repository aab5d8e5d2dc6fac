"""The servers under measurement: each the program as people start it, with the same engine and settings."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MODEL = "bench"
LATE = 0.0025
"""Seconds; a bound of the histogram."""
_ROOT = Path(__file__).parents[2]
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A process that serves the model. `chat` and `completions` are its paths."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    base: str

    def path(self, endpoint: str) -> str:
        """The path of "completions" or "chat/completions"."""
        return f"{self.base}/{endpoint}"

    def cpu(self) -> float:
        """CPU seconds of this process and its threads so far; the engine's process is another one."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def memory(self) -> int:
        """Resident bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def until_ready(self, path: str, seconds: float) -> None:
        """Waits until it answers 200 there. Raises RuntimeError with the end of its log."""
        end = time.monotonic() + seconds
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5):
                    return
            except (OSError, urllib.error.HTTPError):
                pass
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.3)

    def stop(self) -> None:
        """Ends it and its engine."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def engine_flags(max_num_seqs: int) -> list[str]:
    """What both servers give vLLM's engine."""
    return [
        "--max-model-len=2048", "--dtype=float32", "--kv-cache-memory-bytes=512M", "--enforce-eager",
        f"--max-num-seqs={max_num_seqs}",
        # The engine in one process beside the server's: on a CPU vLLM would start a third one for its worker.
        "--distributed-executor-backend=vllm.v1.executor.uniproc_executor.UniProcExecutor",
    ]  # fmt: skip


def ours(name: str, folder: Path, flags: Sequence[str], *, port: int = 0) -> Server:
    """`python -m runtime`."""
    port = port or free_port()
    command = [sys.executable, "-m", "runtime", f"--model_name={MODEL}", f"--http_port={port}",
               "--lame_duck_seconds=0", "--drain_seconds=1", *flags]  # fmt: skip
    return _start(name, folder, command, port, "/v1")


def vllm(name: str, folder: Path, model: Path, flags: Sequence[str]) -> Server:
    """vLLM's own server."""
    port = free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", f"--model={model}",
               f"--served-model-name={MODEL}", "--host=127.0.0.1", f"--port={port}", *flags]  # fmt: skip
    return _start(name, folder, command, port, "/v1")


def late(server: Server) -> float:
    """How many of our server's timers were more than LATE late, as a share: a held token waits for one."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    name = "stoker_runtime_event_loop_lag_seconds"
    read = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(name))
    return 1 - float(read[f'{name}_bucket{{le="{LATE}"}}']) / float(read[f"{name}_count"])


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _start(name: str, folder: Path, command: list[str], port: int, base: str) -> Server:
    log = folder / f"{name.replace(' ', '-')}.log"
    # What the runtime sets for vLLM by itself (runtime/engines/vllm/defaults.py), for both.
    environ = os.environ | {
        "PYTHONPATH": str(_ROOT), "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "STOKER_TERMINATION_LOG": os.devnull,
    }  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environ, cwd=folder, stdout=out, stderr=out)
    return Server(name, port, process, log, base)
