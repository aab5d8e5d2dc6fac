"""Where a local cluster keeps its state, and where built and fetched things are cached."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The folder of one local cluster (`STOKER_HOME`) and the names inside it.

    Everything here belongs to the user who runs `stoker`. What root writes lives in `node_state`,
    outside the home directory, and goes with `stoker down`.
    """

    path: Path

    @property
    def identity(self) -> str:
        """Eight hex digits that tell this cluster's processes, cgroups and folders from another's."""
        return hashlib.sha256(str(self.path).encode()).hexdigest()[:8]

    @property
    def kubeconfig(self) -> Path:
        """Credentials of the cluster's administrator."""
        return self.path / "kubeconfig"

    @property
    def pki(self) -> Path:
        """Certificates, keys and the kubeconfigs of the components."""
        return self.path / "pki"

    @property
    def logs(self) -> Path:
        """One file per component."""
        return self.path / "logs"

    @property
    def record(self) -> Path:
        """What `up` was asked for and what it chose (JSON)."""
        return self.path / "cluster.json"

    @property
    def node_state(self) -> Path:
        """Root's part: containerd's and the kubelet's folders, etcd's data."""
        return Path("/var/lib/stoker") / self.identity

    @property
    def prometheus(self) -> Path:
        """What the pod of Prometheus sees: links that `up --prometheus` makes to the program it found."""
        return self.path / "node" / "prometheus"

    def log(self, component: str) -> Path:
        """The log file of one component."""
        return self.logs / f"{component}.log"


def home_from(environ: Mapping[str, str] | None = None) -> Home:
    """The cluster that STOKER_HOME names (default: `$XDG_STATE_HOME/stoker`)."""
    environ = os.environ if environ is None else environ
    if named := environ.get("STOKER_HOME"):
        return Home(Path(named).absolute())
    return Home(_base(environ, "XDG_STATE_HOME", ".local/state") / "stoker")


def cache_from(environ: Mapping[str, str] | None = None) -> Path:
    """Stoker's cache, shared by all clusters of a user: binaries, models, images."""
    environ = os.environ if environ is None else environ
    if named := environ.get("STOKER_CACHE"):
        return Path(named).absolute()
    return _base(environ, "XDG_CACHE_HOME", ".cache") / "stoker"


def _base(environ: Mapping[str, str], variable: str, default: str) -> Path:
    if named := environ.get(variable):
        return Path(named)
    return Path(environ["HOME"] if environ.get("HOME") else os.path.expanduser("~")) / default
