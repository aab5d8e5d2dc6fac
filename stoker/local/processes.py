"""Starting, watching and stopping the processes that a cluster is made of."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stoker.local.failures import LocalError


@dataclass(frozen=True)
class Component:
    """One program of the cluster, as it is to be started."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


class Processes:
    """Child processes with one log file each; they die with this process whatever ends it."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def log(self, name: str) -> Path:
        """The log file of a component."""
        return self._logs / f"{name}.log"

    def start(self, component: Component) -> None:
        """Start a component; its output is appended to its log."""
        self._logs.mkdir(parents=True, exist_ok=True)
        with self.log(component.name).open("ab") as log:
            self._running[component.name] = subprocess.Popen(
                [*die_with_parent(), *component.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **component.environment},
                # Ctrl-C reaches the whole group of a terminal; the order of stopping is ours.
                start_new_session=True,
            )

    def exited(self) -> list[str]:
        """The components that ended by themselves."""
        return [name for name, process in self._running.items() if process.poll() is not None]

    def wait_until(self, ready: Callable[[], bool], timeout: float, waiting_for: str) -> None:
        """Poll `ready` until it holds.

        Raises LocalError with the end of the log when a component ends first or `timeout` seconds
        pass.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            if ended := self.exited():
                raise self._failure(f"{ended[0]} ended while it was starting.", ended[0])
            if time.monotonic() > deadline:
                last = list(self._running)[-1]
                raise self._failure(f"{waiting_for} was not ready after {timeout:.0f} s.", last)
            time.sleep(0.05)

    def stop(self, grace: float = 10.0) -> None:
        """End all components, last started first; kill those still there after `grace` seconds."""
        for process in reversed(self._running.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(grace)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def _failure(self, problem: str, component: str) -> LocalError:
        log = self.log(component)
        return LocalError(problem, f"The whole log is {log}.", tail(log, 15))


def tail(path: Path, lines: int) -> str:
    """The last lines of a file, or nothing when it cannot be read."""
    try:
        content = path.read_bytes()[-64_000:]
    except OSError:
        return ""
    return "\n".join(content.decode(errors="replace").splitlines()[-lines:])


def die_with_parent() -> list[str]:
    """The start of a command line whose program is killed when the process that starts it ends."""
    # Without it a killed test run would leave an API server behind.
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
