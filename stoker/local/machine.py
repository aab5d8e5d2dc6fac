"""What this machine can do: platform, memory, disk, kernel features, root, and Debian's packages."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from stoker.local.failures import ON_A_CLUSTER, WITHOUT_ROOT, LocalError, no_root

_MEMORY_NEEDED = 2_500_000_000  # bytes available: the node takes about 1 GB, a small model the rest
_CONTROL_PLANE_MEMORY = 800_000_000
_DISK_NEEDED = 1_000_000_000

# What the node runs besides Kubernetes, and the Debian package that has it.
PACKAGES: Mapping[str, str] = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "mount": "mount",
    "unshare": "util-linux",
}
_CNI_PACKAGE = "containernetworking-plugins"
_CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))
# Pods see the machine's /usr: what vLLM's CPU build links and its wheel does not bring.
_NUMA_PACKAGE = "libnuma1"
_NUMA_LIBRARY = "libnuma.so.1"
_LIBRARY_FOLDERS = (Path("/usr/lib/x86_64-linux-gnu"), Path("/usr/lib64"), Path("/usr/lib"))
ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def require_platform() -> None:
    """Raises LocalError elsewhere than on Linux on x86-64."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise LocalError(
            f"The local cluster runs on Linux on x86_64, and this is {sys.platform} on {platform.machine()}.",
            f"Use a virtual machine, or a cluster of your own ({ON_A_CLUSTER}).",
        )


def require_memory(*, with_node: bool, meminfo: str | None = None) -> None:
    """Raises LocalError when too little memory is available. `meminfo` is /proc/meminfo's text."""
    needed = _MEMORY_NEEDED if with_node else _CONTROL_PLANE_MEMORY
    available = memory_available(Path("/proc/meminfo").read_text() if meminfo is None else meminfo)
    if available < needed:
        instead = "; `stoker up --control-plane-only` takes less" if with_node else ""
        raise LocalError(
            f"{available / 1e9:.1f} GB of memory are available and {needed / 1e9:.1f} GB are needed.",
            f"Stop something else{instead}.",
        )


def memory_available(meminfo: str) -> int:
    """MemAvailable of /proc/meminfo's text in bytes."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no MemAvailable in /proc/meminfo")


def require_disk(
    folder: Path, free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
) -> None:
    """Raises LocalError when the disk that holds `folder` is nearly full."""
    while not folder.exists():
        folder = folder.parent
    if (left := free(folder)) < _DISK_NEEDED:
        raise LocalError(
            f"{folder} has {left / 1e9:.1f} GB of free disk and {_DISK_NEEDED / 1e9:.0f} GB are needed.",
            "Free some space there. STOKER_HOME and STOKER_CACHE say where a cluster and the cache live.",
        )


def require_kernel(proc: Path = Path("/proc")) -> None:
    """Raises LocalError when the kernel lacks namespaces or bridge filtering. Run as root, after
    `load_modules`.
    """
    for kind in ("cgroup", "ipc", "mnt", "net", "pid", "uts"):
        if not (proc / "self" / "ns" / kind).exists():
            raise _no_feature(f"{kind} namespaces")
    if not (proc / "sys" / "net" / "bridge" / "bridge-nf-call-iptables").exists():
        raise _no_feature("the br_netfilter module")


def load_modules() -> None:
    """Load what the node needs where the kernel has it as modules; built-in ones need nothing."""
    if modprobe := shutil.which("modprobe", path=ROOT_PATH):
        for module in ("br_netfilter", "veth", "bridge", "nf_tables", "nf_conntrack"):
            subprocess.run([modprobe, "--quiet", module], capture_output=True, check=False)


def has_sys_resource(status: str | None = None) -> bool:
    """Whether this process may lower OOM scores (CAP_SYS_RESOURCE). `status`: /proc/self/status."""
    text = Path("/proc/self/status").read_text() if status is None else status
    effective = next(line.split()[1] for line in text.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> 24 & 1)


def as_root() -> list[str]:
    """What to put before a command so that root runs it. Raises LocalError without a way to."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo is None:
        raise no_root()
    without_password = subprocess.run([sudo, "-n", "true"], capture_output=True, check=False)
    if without_password.returncode != 0 and not sys.stdin.isatty():
        raise no_root()
    return [sudo]


def system_program(name: str) -> Path | None:
    """A program of the system, looked for where root would."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{ROOT_PATH}")
    return Path(found) if found else None


def cni_folder() -> Path | None:
    """The folder with the CNI plugins that pods need."""
    for folder in _CNI_FOLDERS:
        if all(os.access(folder / plugin, os.X_OK) for plugin in ("bridge", "host-local", "loopback")):
            return folder
    return None


def missing_packages() -> list[str]:
    """Debian packages to install, empty when the machine has everything."""
    missing = {package for program, package in PACKAGES.items() if system_program(program) is None}
    if cni_folder() is None:
        missing.add(_CNI_PACKAGE)
    if not any((folder / _NUMA_LIBRARY).exists() for folder in _LIBRARY_FOLDERS):
        missing.add(_NUMA_PACKAGE)
    return sorted(missing)


def install_packages(packages: list[str]) -> None:
    """Install Debian packages and leave no service of theirs running. Needs root."""
    apt = shutil.which("apt-get", path=ROOT_PATH)
    names = " ".join(packages)
    if apt is None:
        raise LocalError(
            f"The local cluster needs these packages: {names}, and there is no apt-get to install them.",
            "Install containerd, runc, the CNI plugins, nftables and conntrack with your system's packages. "
            + WITHOUT_ROOT,
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": ROOT_PATH}
    install = [apt, "install", "--yes", "--quiet", "--no-install-recommends", "--no-remove", *packages]
    done = subprocess.run(install, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        # A fresh machine has no package lists, an old one has outdated ones.
        subprocess.run([apt, "update", "--quiet"], env=environment, capture_output=True, check=False)
        done = subprocess.run(install, env=environment, capture_output=True, text=True, check=False)
    if "containerd" in packages and shutil.which("systemctl", path=ROOT_PATH):
        # The package starts a service; the cluster runs containerd itself, in its own namespaces.
        subprocess.run(["systemctl", "disable", "--now", "containerd"], capture_output=True, check=False)
    if done.returncode:
        raise LocalError(
            f"Installing {names} failed.",
            "Mend what apt-get says, or install the packages by hand, then run `stoker up` again.",
            done.stderr[-2000:],
        )


def _no_feature(what: str) -> LocalError:
    return LocalError(
        f"This kernel has no {what}.",
        "Boot a kernel that has it (Debian's has). Without it: `stoker up --control-plane-only`, "
        "`stoker run -f FILE`, or a cluster of your own.",
    )
