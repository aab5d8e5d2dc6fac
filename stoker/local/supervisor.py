"""Keeps a list of components running: starts each when what it waits for is there, restarts it when
it ends, reaps orphans, writes what it knows to a file, and stops everything in reverse order.

Standard library only, and small: this is what stays in memory for as long as a cluster is up. It
is process 1 of the node's namespaces (`stoker.local.inner`), and a plain process of the user for
`stoker up --control-plane-only` (`python -m stoker.local.supervisor PLAN`).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TICK_WHILE_STARTING = 0.05  # seconds
_TICK_WHEN_UP = 5.0
_RESTART_DELAYS = (1.0, 2.0, 5.0, 10.0)
# A component that ran this long before it ended is restarted without a longer delay.
_STABLE_AFTER = 30.0
_STOP_GRACE = 10.0


@dataclass(frozen=True)
class Task:
    """One component as a plan (JSON) describes it.

    `after` holds conditions, all of which must be met before it starts: `tcp:HOST:PORT` and
    `unix:PATH` (somebody accepts connections), `file:PATH` (exists), `done:NAME` (that task, a
    `once` one, ended with 0), `https:HOST:PORT/PATH` (answers 200 to anybody).
    """

    name: str
    command: tuple[str, ...]
    log: str
    environment: dict[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    once: bool = False

    @classmethod
    def from_json(cls, item: dict[str, Any]) -> Task:
        """A task as `as_json` wrote it."""
        return cls(
            item["name"],
            tuple(item["command"]),
            item["log"],
            dict(item.get("environment", {})),
            tuple(item.get("after", ())),
            bool(item.get("once", False)),
        )

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "name": self.name,
            "command": list(self.command),
            "log": self.log,
            "environment": self.environment,
            "after": list(self.after),
            "once": self.once,
        }


@dataclass
class _Run:
    """How a task fares: Waiting -> Running -> (Restarting -> Running)* or Done."""

    state: str = "Waiting"
    pid: int = 0
    restarts: int = 0
    exit_code: int | None = None
    started_at: float = 0.0
    start_at: float = 0.0


class Supervisor:
    """Runs tasks until SIGTERM or SIGINT; `status` is the JSON file it reports to."""

    def __init__(self, tasks: Iterable[Task], status: Path) -> None:
        self._tasks = {task.name: task for task in tasks}
        self._runs = {name: _Run() for name in self._tasks}
        self._status = status
        self._reported = ""
        self._known: set[str] = set()  # conditions that were met once

    def run(self) -> None:
        """Start everything and keep it running; returns after everything was stopped."""
        watched = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        while True:
            self._reap()
            self._start_due()
            self._report()
            starting = any(run.state in ("Waiting", "Restarting") for run in self._runs.values())
            got = signal.sigtimedwait(watched, _TICK_WHILE_STARTING if starting else _TICK_WHEN_UP)
            if got is not None and got.si_signo != signal.SIGCHLD:
                break
        self._stop()

    def _start_due(self) -> None:
        now = time.monotonic()
        for name, run in self._runs.items():
            task = self._tasks[name]
            if (
                run.state in ("Waiting", "Restarting")
                and now >= run.start_at
                and all(map(self._met, task.after))
            ):
                self._start(task, run)

    def _start(self, task: Task, run: _Run) -> None:
        log = os.open(task.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
        try:
            actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
            dups = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
            run.pid = os.posix_spawnp(
                task.command[0],
                task.command,
                {**os.environ, **task.environment},
                file_actions=[*actions, *dups],
                setpgroup=0,
                setsigmask=(),
            )
            run.state, run.started_at = "Running", time.monotonic()
        except OSError as error:
            os.write(log, f"cannot start {task.command[0]}: {error}\n".encode())
            self._ended(task, run, 127)
        finally:
            os.close(log)

    def _reap(self) -> None:
        """Take note of every child that ended; orphans of containers too, for process 1."""
        by_pid = {run.pid: name for name, run in self._runs.items() if run.pid}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if name := by_pid.get(pid):
                self._ended(self._tasks[name], self._runs[name], os.waitstatus_to_exitcode(status))

    def _ended(self, task: Task, run: _Run, code: int) -> None:
        run.pid, run.exit_code = 0, code
        if task.once and code == 0:
            run.state = "Done"
            return
        now = time.monotonic()
        run.state = "Restarting"
        run.restarts = run.restarts + 1
        settled = run.started_at and now - run.started_at >= _STABLE_AFTER
        run.start_at = now + (_RESTART_DELAYS[0] if settled else _RESTART_DELAYS[min(run.restarts, 4) - 1])

    def _met(self, condition: str) -> bool:
        if condition not in self._known and self._holds(condition):
            self._known.add(condition)
        return condition in self._known

    def _holds(self, condition: str) -> bool:
        kind, _, what = condition.partition(":")
        if kind == "file":
            return Path(what).exists()
        if kind == "done":
            return self._runs[what].state == "Done"
        return _answers(what) if kind == "https" else _accepts(kind, what)

    def _report(self) -> None:
        report = json.dumps(
            {
                name: {"state": run.state, "restarts": run.restarts, "exitCode": run.exit_code}
                for name, run in self._runs.items()
            }
        )
        if report == self._reported:
            return
        self._reported = report
        temporary = self._status.with_suffix(".new")
        temporary.write_text(report)
        temporary.replace(self._status)

    def _stop(self) -> None:
        """Last started first; who is still there after the grace period is killed."""
        for run in reversed(self._runs.values()):
            if pid := run.pid:
                _signal_group(pid, signal.SIGTERM)
                deadline = time.monotonic() + _STOP_GRACE
                while run.pid and time.monotonic() < deadline:
                    self._reap()
                    time.sleep(0.02)
                # Also what it left of its own processes.
                _signal_group(pid, signal.SIGKILL)
            run.start_at = float("inf")
        self._reap()


def _accepts(kind: str, where: str) -> bool:
    if kind == "unix":
        family, address = socket.AF_UNIX, where
    else:
        family, (host, _, port) = socket.AF_INET, where.rpartition(":")
        address = (host, int(port))  # type: ignore[assignment]
    with socket.socket(family) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(address)
        except OSError:
            return False
        return True


def _answers(where: str) -> bool:
    address, _, path = where.partition("/")
    # Whether it is there is all that is asked, so whoever it is may answer.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(address, context=context, timeout=1.0)
    try:
        connection.request("GET", f"/{path}")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def main(plan: str) -> None:
    """Run the plan in a file: {"tasks": [...], "status": PATH}."""
    content = json.loads(Path(plan).read_text())
    Supervisor(map(Task.from_json, content["tasks"]), Path(content["status"])).run()


if __name__ == "__main__":
    main(sys.argv[1])
