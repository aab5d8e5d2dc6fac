"""Process 1 of a node: arranges the namespaces that it was started in, then supervises.

    python -m stoker.local.inner PLAN CGROUPS

PLAN is a NodePlan's file, CGROUPS the machine's v1 hierarchies as JSON (`null` on v2).
Whatever goes wrong ends this process, and with it everything in its namespaces.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from stoker.local import cgroups, network
from stoker.local.supervisor import Supervisor, Task

# The kubelet sets these for the whole machine; it gets plain files to write to instead.
_MACHINE_SETTINGS = (
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)
# Folders that Kubernetes and containerd insist on: private ones below the node's state.
_PRIVATE = {"/var/lib/kubelet": "kubelet", "/var/lib/cni": "cni", "/var/log": "log"}


def main(plan_file: str, hierarchies: str) -> None:
    """Arrange everything, then run until SIGTERM."""
    # Read with the plain json module: stoker.local.node would bring half the library into memory.
    plan = json.loads(Path(plan_file).read_text())
    arrange_mounts(Path(plan["state"]), Path(plan["resolv_conf"]), json.loads(hierarchies))
    socket.sethostname(plan["hostname"])
    network.set_up_inside(plan["identity"], plan["address"])
    Supervisor(map(Task.from_json, plan["tasks"]), Path(plan["status"])).run()


def arrange_mounts(state: Path, resolv_conf: Path, hierarchies: list[list[str]] | None) -> None:
    """Make the mount namespace the node's own: /sys, control groups, /run, state folders."""
    # Pods' volumes must be seen by containers that started before they were mounted.
    _mount("--make-rshared", "/")
    _mount("-t", "sysfs", "sysfs", "/sys")
    known = [cgroups.Hierarchy(name, Path(), Path()) for (name,) in hierarchies or ()]
    cgroups.mount_inside(known, v2=hierarchies is None)
    for folder, private in _PRIVATE.items():
        _mount("--bind", str(state / private), folder)
    target = Path("/etc/resolv.conf").resolve()
    _mount("-t", "tmpfs", "-o", "mode=755", "run", "/run")
    if target.is_relative_to("/run"):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    # Nothing can be pulled: say so at once instead of waiting for an unreachable resolver.
    _mount("--bind", str(resolv_conf), str(target))
    _cover_settings(Path("/run/machine-settings"))


def _cover_settings(copies: Path) -> None:
    for setting in _MACHINE_SETTINGS:
        real = Path("/proc/sys", setting)
        if real.exists():
            copy = copies / setting
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(real.read_text())
            _mount("--bind", str(copy), str(real))


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    os.umask(0o022)
    main(*sys.argv[1:])
