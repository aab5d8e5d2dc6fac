"""The part of the local cluster that needs root, and nothing else.

    python -m stoker.local.root prepare IDENTITY ADDRESS_RANGE    packages, modules, the veth pair
    python -m stoker.local.root start PLAN                        the node's process 1
    python -m stoker.local.root stop IDENTITY                     everything away, whatever crashed

Run through sudo by an ordinary user's `stoker`. Answers with one line of JSON on standard output;
a failure is `{"problem": ..., "remedy": ..., "details": ...}` and exit code 1. Writes below
/var/lib/stoker only, and into log files that the user made.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from stoker.local import cgroups, machine, network
from stoker.local.failures import LocalError
from stoker.local.home import Home
from stoker.local.node import NodePlan, Prepared

_STATE = Path("/var/lib/stoker")
# Mount points that the node needs on the machine; empty there, and removed with the last cluster.
_MOUNT_POINTS = (Path("/var/lib/kubelet"), Path("/var/lib/cni"))
_NAMESPACES = ("--net", "--mount", "--uts", "--ipc", "--cgroup", "--pid")


def prepare(identity: str, address_range: str) -> str:
    """Packages, kernel modules, and the veth pair; returns a Prepared as JSON."""
    if packages := machine.missing_packages():
        sys.stderr.write(f"Installing {', '.join(packages)}\n")
        machine.install_packages(packages)
    machine.load_modules()
    machine.require_kernel()
    if not cgroups.machine_is_v2():
        _hierarchies()
    machine.require_disk(_STATE)
    folder = machine.cni_folder()
    programs = {name: machine.system_program(name) for name in ("containerd", "ctr", "runc")}
    if folder is None or None in programs.values():
        raise LocalError(
            "The installed packages lack a program.", f"Found: {programs}, CNI plugins: {folder}."
        )
    return Prepared(
        address=network.make_link(identity, address_range),
        cni_folder=str(folder),
        sys_resource=machine.has_sys_resource(),
        **{name: str(path) for name, path in programs.items()},
    ).as_json()


def start(plan_file: str) -> str:
    """Start the node's process 1 in namespaces of its own; returns {"pid": ...} of its parent."""
    plan = NodePlan.load(Path(plan_file))
    state = Path(plan.state)
    for name in ("kubelet", "cni", "log", "etcd", "containerd"):
        (state / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in (_STATE, state, *_MOUNT_POINTS):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
    name = _name(plan.identity)
    if cgroups.machine_is_v2():
        delegated, hierarchies, folders = cgroups.delegated_command(name), None, []
    else:
        known = _hierarchies()
        delegated, hierarchies, folders = (
            [],
            [[each.controllers] for each in known],
            cgroups.make_v1(name, known),
        )
    inner = [sys.executable, "-P", "-B", "-m", "stoker.local.inner", plan_file, json.dumps(hierarchies)]
    command = ["unshare", *_NAMESPACES, "--propagation", "private", "--fork", "--kill-child", "--mount-proc"]
    process = _spawn([*delegated, *command, *inner], Path(plan.node_log), folders)
    _wait_for_namespace(process)
    if hierarchies is None:
        cgroups.move_to_leaf(process.pid)
    network.hand_over(plan.identity, process.pid)
    return json.dumps({"pid": process.pid})


def stop(identity: str) -> str:
    """Remove everything of a cluster; harmless when there is nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # half of it removed would help nobody
    network.remove_link(identity)
    for pid in node_processes(identity):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    cgroups.remove(_name(identity))
    state = _STATE / identity
    if state.exists():
        # Mounts of the node went with its namespace; one that did not must not be emptied.
        subprocess.run(["rm", "-rf", "--one-file-system", str(state)], check=True)
    with contextlib.suppress(OSError):
        _STATE.rmdir()
        for folder in _MOUNT_POINTS:
            with contextlib.suppress(OSError):
                folder.rmdir()
    return "{}"


def node_processes(identity: str) -> Iterator[int]:
    """The processes 1 of a cluster's nodes and their parents, found by their command lines."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError):
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            plan = Path(arguments[arguments.index("stoker.local.inner") + 1])
            # The plan is HOME/node/node.json, and may be gone already.
            if Home(plan.parent.parent).identity == identity:
                yield int(entry.name)


def _spawn(command: list[str], log: Path, folders: list[Path]) -> subprocess.Popen[bytes]:
    def enter() -> None:
        for folder in folders:
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    environment = {"PATH": machine.ROOT_PATH, "LANG": "C.UTF-8", "HOME": "/root"}
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            start_new_session=True,
            preexec_fn=enter,  # noqa: PLW1509 - this program has one thread
        )


def _wait_for_namespace(process: subprocess.Popen[bytes], timeout: float = 10.0) -> None:
    """Until the process has a network namespace of its own."""
    ours, theirs = os.readlink("/proc/self/ns/net"), Path(f"/proc/{process.pid}/ns/net")
    deadline = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if os.readlink(theirs) != ours:
                return
        time.sleep(0.01)
    raise LocalError(
        "The node's namespaces could not be made.",
        "In a container this needs a privileged one; the log `node` (stoker logs node) has unshare's words.",
    )


def _hierarchies() -> list[cgroups.Hierarchy]:
    own, mounts = Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text()
    return cgroups.parse_hierarchies(own, mounts)


def _name(identity: str) -> str:
    return f"stoker-{identity}"


def main(arguments: list[str]) -> int:
    """Do one step; returns the exit code."""
    steps: dict[str, Callable[..., str]] = {"prepare": prepare, "start": start, "stop": stop}
    try:
        answer = steps[arguments[0]](*arguments[1:])
    except LocalError as failure:
        fields = {"problem": failure.problem, "remedy": failure.remedy, "details": failure.details}
        sys.stdout.write(json.dumps(fields) + "\n")
        return 1
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(answer + "\n")
    return 0


if __name__ == "__main__":
    os.environ["PATH"] = machine.ROOT_PATH
    sys.exit(main(sys.argv[1:]))
