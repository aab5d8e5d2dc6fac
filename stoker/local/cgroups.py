"""A folder of the node's own in every control group hierarchy, made its root by a cgroup namespace.

The machine has one of two layouts. v1 (also "hybrid"): one hierarchy per controller. v2: a single
one; there a folder with processes may not hand controllers to its children, so the node is started
in a delegated systemd scope and its first processes move into a leaf. v1 is what this was tried
on; v2 is written from the kubelet's, runc's and systemd's documentation and was not run yet.

Standard library only: also used by process 1 of the node.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stoker.local.failures import LocalError

ROOT = Path("/sys/fs/cgroup")
_NEEDED = ("cpu", "cpuacct", "cpuset", "memory", "pids")
_NEEDED_V2 = ("cpu", "cpuset", "memory", "pids")
_LEAF = "init"  # v2: where the node's first processes are
_EMPTY_WITHIN = 20.0  # seconds that killed processes get to go away


@dataclass(frozen=True)
class Hierarchy:
    """One v1 hierarchy: its controllers (`cpu,cpuacct` or `name=systemd`), where the machine has it
    mounted, and the folder there of the process that asked.
    """

    controllers: str
    mountpoint: Path
    own: Path

    @property
    def folder_name(self) -> str:
        """The name of its mount point inside the node."""
        return self.controllers.removeprefix("name=")

    @property
    def mount_options(self) -> str:
        """What `mount -t cgroup -o` needs to mount it again."""
        return f"none,{self.controllers}" if self.controllers.startswith("name=") else self.controllers


def is_v2(filesystem_type: str) -> bool:
    """Whether `stat -f -c %T /sys/fs/cgroup` names the unified layout."""
    return filesystem_type.strip() == "cgroup2fs"


def machine_is_v2() -> bool:
    """Whether this machine has the unified layout."""
    done = subprocess.run(["stat", "-f", "-c", "%T", str(ROOT)], capture_output=True, text=True, check=False)
    return is_v2(done.stdout)


def parse_hierarchies(own: str, mounts: str) -> list[Hierarchy]:
    """The v1 hierarchies from the texts of /proc/self/cgroup and /proc/self/mountinfo.

    Raises LocalError when one that a kubelet needs is missing.
    """
    mounted = dict(_mounted_v1(mounts))
    found = []
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or controllers not in mounted:
            continue
        mountpoint, root = mounted[controllers]
        inside = os.path.relpath(path, root)
        if inside.startswith(".."):
            inside = "."
        found.append(Hierarchy(controllers, mountpoint, mountpoint / inside))
    have = {controller for hierarchy in found for controller in hierarchy.controllers.split(",")}
    if missing := [controller for controller in _NEEDED if controller not in have]:
        raise missing_controllers(missing)
    return found


def missing_controllers(missing: Iterable[str]) -> LocalError:
    """The kernel or the boot command line lacks something that a kubelet insists on."""
    return LocalError(
        f"The kernel offers no control group controller for: {', '.join(missing)}.",
        "Boot a kernel with them enabled (look for cgroup_disable= in /proc/cmdline), "
        "or use `stoker up --control-plane-only` or `stoker run -f FILE`, which need none.",
    )


def make_v1(name: str, hierarchies: Iterable[Hierarchy]) -> list[Path]:
    """Make the folder `name` in each hierarchy; returns the folders."""
    folders = []
    for hierarchy in hierarchies:
        folder = hierarchy.own / name
        folder.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # A new cpuset folder is empty, and nothing may run in it until it is filled.
            if (folder / setting).exists():
                (folder / setting).write_text(_inherited(folder.parent, hierarchy.mountpoint, setting))
        folders.append(folder)
    return folders


def delegated_command(name: str) -> list[str]:
    """v2: the command line that runs the rest in a delegated folder, or one that makes the folder.

    Without systemd the folder hangs below the root, the only one that may hold processes and hand
    out controllers as well.
    """
    if shutil.which("systemd-run") and Path("/run/systemd/system").exists():
        return ["systemd-run", "--scope", "--quiet", f"--unit={name}", "-p", "Delegate=yes", "--"]
    have = (ROOT / "cgroup.controllers").read_text().split()
    if missing := [controller for controller in _NEEDED_V2 if controller not in have]:
        raise missing_controllers(missing)
    enable = " ".join(f"+{controller}" for controller in _handed_out(have))
    (ROOT / "cgroup.subtree_control").write_text(enable)
    (ROOT / name).mkdir(exist_ok=True)
    return ["sh", "-c", f'echo $$ > {ROOT}/{name}/cgroup.procs && exec "$@"', "sh"]


def mount_inside(hierarchies: Iterable[Hierarchy], *, v2: bool) -> None:
    """In the node's namespaces, over a fresh /sys: mount what the node sees of its control groups."""
    if v2:
        _run("mount", "-t", "cgroup2", "cgroup2", str(ROOT))
        hand_out(ROOT)
        return
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "cgroup", str(ROOT))
    for hierarchy in hierarchies:
        folder = ROOT / hierarchy.folder_name
        folder.mkdir()
        _run("mount", "-t", "cgroup", "-o", hierarchy.mount_options, "cgroup", str(folder))
        for alone in hierarchy.folder_name.split(","):
            if alone != hierarchy.folder_name:
                (ROOT / alone).symlink_to(hierarchy.folder_name)


def remove(name: str) -> None:
    """End every process in folders called `name` (or its scope) anywhere, then remove the folders.

    Needs no record of what was made, so it also cleans up after a start that was killed halfway.
    """
    folders = list(_folders_called(name))
    deadline = time.monotonic() + _EMPTY_WITHIN
    while True:
        for folder in folders:
            for pid in _processes_below(folder):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if all(_removed(folder) for folder in folders):
            return
        if time.monotonic() > deadline:
            left = ", ".join(str(folder) for folder in folders if folder.exists())
            raise LocalError(
                f"Control groups of the cluster could not be removed: {left}.",
                "A process there cannot be killed (state D in `ps`); when it has gone, `stoker down` again.",
            )
        time.sleep(0.05)


def _mounted_v1(mounts: str) -> Iterator[tuple[str, tuple[Path, str]]]:
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(" ", 2)
        if kind == "cgroup":
            names = [
                o for o in options.split(",") if o not in ("rw", "ro", "xattr", "none", "clone_children")
            ]
            names = [o for o in names if not o.startswith("release_agent=")]
            yield ",".join(names), (Path(fields[4]), fields[3])


def _inherited(folder: Path, top: Path, setting: str) -> str:
    while not (value := (folder / setting).read_text().strip()) and folder != top:
        folder = folder.parent
    return value


def move_to_leaf(pid: int) -> None:
    """v2, from outside: move the parent of the node's process 1 out of the folder above the pods'.

    Inside it shows as process 0, which nobody there can move.
    """
    own = Path(f"/proc/{pid}/cgroup").read_text().rpartition("::")[2].strip()
    leaf = ROOT / own.lstrip("/") / _LEAF
    leaf.mkdir(exist_ok=True)
    (leaf / "cgroup.procs").write_text(str(pid))


def hand_out(root: Path, timeout: float = 10.0) -> None:
    """v2, inside: empty the root folder of processes, then let its children have controllers."""
    have = (root / "cgroup.controllers").read_text().split()
    if missing := [controller for controller in _NEEDED_V2 if controller not in have]:
        raise missing_controllers(missing)
    leaf = root / _LEAF
    leaf.mkdir(exist_ok=True)
    deadline = time.monotonic() + timeout
    while pids := (root / "cgroup.procs").read_text().split():
        for pid in pids:
            # 0 is the parent outside, which `move_to_leaf` takes care of.
            if pid != "0":
                with contextlib.suppress(ProcessLookupError):
                    (leaf / "cgroup.procs").write_text(pid)
        if time.monotonic() > deadline:
            raise LocalError(
                f"Processes {pids} stay in the node's control group.", "Run `stoker down`, then `stoker up`."
            )
        time.sleep(0.01)
    enable = " ".join(f"+{controller}" for controller in _handed_out(have))
    (root / "cgroup.subtree_control").write_text(enable)


def _handed_out(have: Iterable[str]) -> list[str]:
    return [controller for controller in have if controller in (*_NEEDED_V2, "hugetlb", "io")]


def _folders_called(name: str) -> Iterator[Path]:
    for folder, names, _ in os.walk(ROOT):
        for each in (name, f"{name}.scope"):
            if each in names:
                yield Path(folder, each)
                names.remove(each)


def _processes_below(folder: Path) -> set[int]:
    found: set[int] = set()
    for each, _, files in os.walk(folder):
        if "cgroup.procs" in files:
            with contextlib.suppress(OSError):
                found.update(int(pid) for pid in Path(each, "cgroup.procs").read_text().split())
    # A process of another pid namespace shows as 0 and cannot be named here.
    return found - {0}


def _removed(folder: Path) -> bool:
    for each, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(each)
    return not folder.exists()


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
