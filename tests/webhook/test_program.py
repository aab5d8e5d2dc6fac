"""The process: what ends it and when."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler of its own for the signal, from the kernel's point of view."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_signal_while_it_still_loads_ends_it() -> None:
    """Process 1 of a container gets only the signals it handles: the default action would be lost there."""
    command = [sys.executable, "-X", "importtime", "-m", "webhook", "--kubeconfig=/does/not/exist"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 20
        while not catches(process.pid, signal.SIGTERM):
            assert time.monotonic() < end
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0, "ended by its own handler, not by the kernel's default"
    assert "webhook.program" not in errors, "it was still loading"
