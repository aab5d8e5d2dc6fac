"""Calling root's half (`stoker.local.root`), through sudo where that is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from stoker.local import machine
from stoker.local.failures import LocalError


def call(step: str, *arguments: str) -> dict[str, Any]:
    """Run one step as root; returns its answer. Raises the LocalError that it reports."""
    # -P: no module of the current folder; -B: no byte code of root's in the user's checkout.
    command = [*machine.as_root(), sys.executable, "-P", "-B", "-m", "stoker.local.root", step, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        raise LocalError(
            f"The step `{step}` that runs as root ended with exit code {done.returncode}.",
            "What it printed above says why; `stoker down` removes what was started.",
        ) from error
    if done.returncode:
        raise LocalError(answer["problem"], answer["remedy"], answer["details"])
    return answer
