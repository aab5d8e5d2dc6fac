"""The supervisor with real, small processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stoker.local.readiness import alive
from stoker.local.supervisor import Task


class Running:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *tasks: Task) -> None:
        plan = self.folder / "plan.json"
        status = str(self.folder / "status.json")
        plan.write_text(json.dumps({"tasks": [task.as_json() for task in tasks], "status": status}))
        self.process = subprocess.Popen([sys.executable, "-P", "-m", "stoker.local.supervisor", str(plan)])

    def task(self, name: str, script: str, *after: str, once: bool = False) -> Task:
        return Task(name, ("sh", "-c", script), str(self.folder / f"{name}.log"), after=after, once=once)

    def state(self, name: str) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / "status.json").read_text())[name])
        except (OSError, ValueError):
            return {"state": None, "restarts": 0}

    def until(self, condition: Callable[[], bool], timeout: float = 20.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, (self.folder / "status.json").read_text()
            time.sleep(0.02)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    if running.process and running.process.poll() is None:
        running.process.kill()
        running.process.wait()


def test_a_task_waits_for_what_it_needs(supervisor: Running) -> None:
    flag = supervisor.folder / "flag"
    supervisor.start(
        supervisor.task("second", "exec sleep 60", "done:first", f"file:{flag}"),
        supervisor.task("first", "exit 0", once=True),
    )
    supervisor.until(lambda: supervisor.state("first")["state"] == "Done")
    assert supervisor.state("second")["state"] == "Waiting"
    flag.touch()
    supervisor.until(lambda: supervisor.state("second")["state"] == "Running")
    assert supervisor.stop() == 0


def test_what_ends_is_started_again_and_counted(supervisor: Running) -> None:
    supervisor.start(supervisor.task("crash", "echo ran; exit 3"))
    log = supervisor.folder / "crash.log"
    supervisor.until(lambda: supervisor.state("crash")["restarts"] >= 2)
    assert log.read_text().startswith("ran\nran\n")
    assert supervisor.state("crash")["exitCode"] == 3
    supervisor.stop()


def test_a_program_that_is_missing_is_said_in_its_log(supervisor: Running) -> None:
    log = supervisor.folder / "none.log"
    supervisor.start(Task("none", ("/does/not/exist",), str(log)))
    supervisor.until(lambda: supervisor.state("none")["state"] == "Restarting")
    assert "cannot start /does/not/exist" in log.read_text()
    assert supervisor.state("none")["exitCode"] == 127
    supervisor.stop()


def test_stops_in_reverse_order(supervisor: Running) -> None:
    order = supervisor.folder / "order"
    started = f"touch {supervisor.folder}/$0.up"
    script = f"trap 'echo $0 >> {order}; exit 0' TERM; {started}; while :; do sleep 0.05; done"
    tasks = [
        Task(n, ("sh", "-c", script, n), str(supervisor.folder / f"{n}.log")) for n in ("one", "two", "three")
    ]
    supervisor.start(*tasks)
    supervisor.until(lambda: all((supervisor.folder / f"{task.name}.up").exists() for task in tasks))
    assert supervisor.stop() == 0
    assert order.read_text().split() == ["three", "two", "one"]


def test_nothing_of_a_components_group_stays(supervisor: Running) -> None:
    pids = supervisor.folder / "pids"
    supervisor.start(supervisor.task("parent", f"(trap '' TERM; sleep 60) & echo $! > {pids}; wait"))
    supervisor.until(lambda: pids.exists() and bool(pids.read_text().strip()))
    supervisor.stop()
    supervisor.until(lambda: not alive(int(pids.read_text())), timeout=5)
