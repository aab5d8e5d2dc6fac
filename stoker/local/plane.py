"""`up --control-plane-only`: etcd, the API server and Stoker's three programs as processes of the
user. No node, no root; nothing runs pods, collects garbage or schedules.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from stoker.local import installation, readiness
from stoker.local.api import Api
from stoker.local.certificates import write_private
from stoker.local.control_plane import Endpoints, apiserver, etcd, free_ports, write_certificates
from stoker.local.failures import LocalError
from stoker.local.full_node import envoy_program
from stoker.local.home import Home
from stoker.local.kubectl import Kubectl
from stoker.local.processes import Component, die_with_parent
from stoker.local.progress import Progress
from stoker.local.readiness import ComponentState
from stoker.local.record import Record
from stoker.local.supervisor import Task

_API_WITHIN = 90.0
_PROGRAMS_WITHIN = 60.0
_STOP_WITHIN = 30.0
PROGRAMS = ("stoker-controller", "stoker-webhook", "stoker-gateway", "envoy")


def start(home: Home, paths: Mapping[str, Path], progress: Progress) -> Record:
    """Start the supervisor; returns at once."""
    progress.note("Starting the control plane alone (no node)")
    api_port, etcd_port, peer_port, ingress = free_ports(4)
    endpoints = Endpoints("127.0.0.1", api_port, etcd_port, peer_port)
    write_certificates(home.pki, endpoints)
    write_private(home.kubeconfig, (home.pki / "admin.kubeconfig").read_bytes())
    database = etcd(paths["etcd"], home.pki, home.path / "etcd", endpoints)
    api = apiserver(paths["kube-apiserver"], home.pki, endpoints, with_node=False)
    tasks = [_task(home, database), _task(home, api, f"tcp:127.0.0.1:{etcd_port}")]
    pid = _supervise(home, "kubernetes", tasks)
    return Record("control-plane", pid, endpoints.url, "127.0.0.1", ingress)


def await_api(record: Record, home: Home, progress: Progress) -> None:
    """Wait until the API server is ready."""
    api = Api(record.url, home.pki)

    def states() -> Iterator[list[ComponentState]]:
        while True:
            ready = ComponentState("API", "Ready" if api.is_ready() else "Waiting")
            yield [*readiness.processes(_status(home, "kubernetes")), ready]

    with progress.components("Control plane") as shown:
        readiness.wait(home, shown, states(), _API_WITHIN, record.pid)


def finish(record: Record, home: Home, source: Path, kubectl: Kubectl, progress: Progress) -> None:
    """Install the API and the runtimes, and see that Stoker's programs run."""
    documents = installation.build(kubectl, source / installation.OVERLAY)
    documents = installation.with_domain(documents, record.domain)
    installation.install(kubectl, installation.only_definitions(documents))
    if not _supervisors(home, "stoker"):
        tasks, ready = _programs(record, home, source)
        _supervise(home, "stoker", tasks, ready)

    def states() -> Iterator[list[ComponentState]]:
        while True:
            yield _program_states(home)

    with progress.components("Stoker") as shown:
        readiness.wait(home, shown, states(), _PROGRAMS_WITHIN, record.pid)


def reload(record: Record, home: Home, source: Path, kubectl: Kubectl, progress: Progress) -> list[str]:
    """Restart Stoker's programs; etcd and the API server go on."""
    stop_programs(home)
    finish(record, home, source, kubectl, progress)
    return list(PROGRAMS)


def states(home: Home) -> list[ComponentState]:
    """Every component."""
    return [*readiness.processes(_status(home, "kubernetes")), *_program_states(home)]


def stop(home: Home) -> None:
    """End both supervisors; they stop their components in reverse order. Harmless without any."""
    stop_programs(home)
    _end(home, "kubernetes")


def stop_programs(home: Home) -> None:
    """End Stoker's programs, not etcd and the API server; `finish` starts them again."""
    _end(home, "stoker")


def files(home: Home) -> list[Path]:
    """What this mode writes into the home besides certificates, data and logs."""
    named = [path(home, name) for name in ("kubernetes", "stoker") for path in (_plan, _status)]
    return [*named, home.path / "envoy.yaml"]


def _programs(record: Record, home: Home, source: Path) -> tuple[list[Task], dict[str, str]]:
    """Controller, webhook, gateway and Envoy as host processes, and where each says that it is ready."""
    webhook_port, xds_port, admin_port, stats_port, *health = free_ports(7)
    common = ("--kubeconfig", str(home.kubeconfig), "--domain", record.domain)

    def program(module: str, health_port: int, *flags: object) -> Component:
        command = (sys.executable, "-P", "-m", module, *common, "--health-port", str(health_port))
        return Component(f"stoker-{module}", (*command, *map(str, flags)), {"PYTHONPATH": str(source)})

    url = f"https://127.0.0.1:{webhook_port}"
    schemas = source / "manifests" / "runtimes" / "args-schema"
    # On a person's own machine nobody waits until the API server lets go of an idle connection.
    webhook = ("--url", url, "--port", webhook_port, "--args-schemas", schemas, "--linger", "0s")
    bootstrap = home.path / "envoy.yaml"
    # One of an earlier start would send Envoy to ports that nobody listens on.
    bootstrap.unlink(missing_ok=True)
    gateway: tuple[object, ...] = (
        *("--listener-port", record.ingress_port, "--xds-port", xds_port, "--bootstrap-out", bootstrap),
        *("--envoy-admin-port", admin_port, "--envoy-stats-port", stats_port, "--default-host-fallback"),
    )
    envoy = (str(envoy_program()), "-c", str(bootstrap), "--disable-hot-restart", "--concurrency", "1")
    tasks = [
        _task(home, program("controller", health[0])),
        _task(home, program("webhook", health[1], *webhook)),
        _task(home, program("gateway", health[2], *gateway)),
        _task(home, Component("envoy", envoy), f"tcp:127.0.0.1:{xds_port}", f"file:{bootstrap}"),
    ]
    paths = (*(f"{port}/readyz" for port in health[:3]), f"{stats_port}/ready")
    ready = {name: f"http://127.0.0.1:{path}" for name, path in zip(PROGRAMS, paths, strict=True)}
    return tasks, ready


def _program_states(home: Home) -> list[ComponentState]:
    """Stoker's programs: one that runs is ready when it says so."""
    try:
        ready: dict[str, str] = json.loads(_plan(home, "stoker").read_text())["ready"]
    except (OSError, ValueError):
        return []
    rows = []
    for row in readiness.processes(_status(home, "stoker")):
        problem = readiness.asked(ready[row.name]) if row.state == "Running" else None
        state = row.state if problem is None else "Starting" if problem else "Ready"
        rows.append(ComponentState(row.name, state, problem or row.detail, row.restarts))
    return rows


def _task(home: Home, component: Component, *after: str) -> Task:
    command = (*die_with_parent(), *component.command)
    log = str(home.log(component.name))
    return Task(component.name, command, log, dict(component.environment), after)


def _supervise(home: Home, name: str, tasks: list[Task], ready: Mapping[str, str] | None = None) -> int:
    home.logs.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        Path(task.log).write_bytes(b"")
    plan = _plan(home, name)
    content = {
        "tasks": [task.as_json() for task in tasks],
        "status": str(_status(home, name)),
        "ready": ready,
    }
    plan.write_text(json.dumps(content))
    _status(home, name).unlink(missing_ok=True)
    with home.log(f"supervisor-{name}").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "stoker.local.supervisor", str(plan)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process.pid


def _end(home: Home, name: str) -> None:
    pids = _supervisors(home, name)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_WITHIN
    while any(readiness.alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            raise LocalError(
                f"The processes of {home.path} do not end.",
                f"See {home.log(f'supervisor-{name}')}; then end {pids}.",
            )
        time.sleep(0.05)
    _status(home, name).unlink(missing_ok=True)


def _supervisors(home: Home, name: str) -> list[int]:
    """Processes that supervise this plan, found by their command line, not by a remembered number."""
    wanted = ["stoker.local.supervisor", str(_plan(home, name))]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if arguments[-3:-1] == wanted:
                    found.append(int(entry.name))
    return found


def _plan(home: Home, name: str) -> Path:
    return home.path / f"{name}.plan.json"


def _status(home: Home, name: str) -> Path:
    return home.path / f"{name}.status.json"
