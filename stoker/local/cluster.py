"""The public face of the local cluster: `up`, `down`, `status`, `load` and how to reach it.

`up` is harmless to repeat: it starts what is missing, applies what changed and leaves the rest.
`down` needs no memory of what was started, so it also cleans up after any crash.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stoker.local import building, full_node, machine, plane, privileged, programs, readiness, record
from stoker.local.api import Api
from stoker.local.failures import LocalError
from stoker.local.home import Home, cache_from, home_from
from stoker.local.kubectl import Kubectl
from stoker.local.progress import Progress
from stoker.local.prometheus.program import program
from stoker.local.readiness import ComponentState
from stoker.local.record import Record


@dataclass(frozen=True)
class ClusterConfig:
    """Which cluster, and what it is asked to be.

    `source` is the checkout: its code runs in the cluster's pods, its manifests install it. None for
    `gpus`, `domain` and `prometheus` means: as it is, or the default (0, example.com, none) where nothing is.
    """

    gpus: int | None = None
    domain: str | None = None
    control_plane_only: bool = False
    prometheus: bool | None = None
    home: Home = field(default_factory=home_from)
    cache: Path = field(default_factory=cache_from)
    source: Path = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Status:
    """What runs: None for `record` when there is no cluster."""

    record: Record | None
    components: tuple[ComponentState, ...]

    @property
    def running(self) -> bool:
        """Whether the cluster's first process is there."""
        return self.record is not None and readiness.alive(self.record.pid)


def up(config: ClusterConfig, progress: Progress) -> Record:
    """Bring the cluster up; returns when everything is ready.

    When starting fails or is interrupted, what was started is removed again. When only installing
    Stoker fails, the cluster stays so that it can be looked at. Raises LocalError.
    """
    machine.require_platform()
    mode = "control-plane" if config.control_plane_only else "node"
    if config.prometheus:
        _check_prometheus(config, progress)
    with _one_at_a_time(config.home):
        known = record.load(config.home)
        if known and readiness.alive(known.pid):
            return _finish(config, _asked(config, known, mode), progress)
        _check(config)
        started = _start(config, mode, known, progress)
        try:
            return _finish(config, started, progress)
        except KeyboardInterrupt:
            _clean_up(config.home, progress)
            raise


def down(home: Home, progress: Progress) -> None:
    """Stop the cluster and remove all of it but its logs; harmless when there is none."""
    with _one_at_a_time(home):
        _remove(home, progress)


def status(home: Home) -> Status:
    """What runs and how it fares."""
    known = record.load(home)
    if known is None or not readiness.alive(known.pid):
        return Status(known, ())
    rows = full_node.states(known, home) if known.mode == "node" else plane.states(home)
    return Status(known, tuple(rows))


def load(config: ClusterConfig, progress: Progress) -> list[str]:
    """Make the cluster run the checkout's code as it is now; returns what was restarted."""
    known = running(config.home)
    with _one_at_a_time(config.home):
        kubectl = kubectl_of(config, progress)
        if known.mode == "node":
            return full_node.reload(known, config.source, kubectl)
        return plane.reload(known, config.home, config.source, kubectl, progress)


def running(home: Home) -> Record:
    """The record of a running cluster. Raises LocalError when there is none."""
    known = record.load(home)
    if known is None:
        raise LocalError(
            f"No cluster is up in {home.path}.",
            "`stoker up` starts one. STOKER_HOME says which one is meant.",
        )
    if not readiness.alive(known.pid):
        raise LocalError(
            f"The cluster in {home.path} was up, and its processes are gone.",
            "`stoker up` starts it anew, `stoker down` only cleans up. Its logs are in "
            f"{home.logs} until then.",
        )
    return known


def kubectl_of(config: ClusterConfig, progress: Progress) -> Kubectl:
    """kubectl for the cluster."""
    cache = config.home.path / "kubectl-cache"
    return Kubectl(building.kubectl(progress), config.home.kubeconfig, cache)


def _asked(config: ClusterConfig, known: Record, mode: str) -> Record:
    """What a running cluster becomes."""
    if known.mode != mode:
        raise LocalError(
            f"{config.home.path} holds a running cluster of the other kind ({known.mode}).",
            "`stoker down` stops it; another STOKER_HOME starts one beside it.",
        )
    wanted = known.asked(config.gpus, config.domain, config.prometheus)
    if mode == "control-plane" and wanted.domain != known.domain:
        plane.stop_programs(config.home)  # they take it from their command lines
    return wanted


def _finish(config: ClusterConfig, wanted: Record, progress: Progress) -> Record:
    wanted.save(config.home)
    kubectl = kubectl_of(config, progress)
    finish = full_node.finish if wanted.mode == "node" else plane.finish
    finish(wanted, config.home, config.source, kubectl, progress)
    return wanted


def _check(config: ClusterConfig) -> None:
    machine.require_memory(with_node=not config.control_plane_only)
    machine.require_disk(config.home.path)
    if not config.control_plane_only:
        machine.as_root()  # fails before anything is built
        for hidden in ("/run", "/var/log", "/var/lib/kubelet", "/var/lib/cni", "/sys", "/proc"):
            if config.home.path.is_relative_to(hidden):
                raise LocalError(
                    f"STOKER_HOME is below {hidden}, where the node has a folder of its own.",
                    "Set STOKER_HOME to a folder elsewhere, for example below your home directory.",
                )


def _check_prometheus(config: ClusterConfig, progress: Progress) -> None:
    """Fails before anything is started."""
    if config.control_plane_only:
        raise LocalError(
            "Prometheus runs as a pod, and --control-plane-only has no node that runs pods.",
            "`stoker up --prometheus` starts a cluster with a node.",
        )
    program("prometheus", note=progress.note)


def _start(config: ClusterConfig, mode: str, crashed: Record | None, progress: Progress) -> Record:
    names = programs.NODE if mode == "node" else programs.CONTROL_PLANE
    paths = building.ensure(names, progress)
    _remove(config.home, progress, quiet=True)
    config.home.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        if mode == "node":
            started = full_node.start(config.home, config.cache, config.source, paths, progress)
        else:
            started = plane.start(config.home, paths, progress)
        if crashed:
            started = started.asked(crashed.gpus, crashed.domain, crashed.prometheus)
        started = started.asked(config.gpus, config.domain, config.prometheus)
        # From here on `down` and `status` know it, even if this process is killed.
        started.save(config.home)
        if mode == "node":
            full_node.await_node(started, config.home, progress)
        else:
            plane.await_api(started, config.home, progress)
    except BaseException:
        _clean_up(config.home, progress)
        raise
    return started


def _clean_up(home: Home, progress: Progress) -> None:
    """Remove what was started, undisturbed by an impatient second Ctrl-C."""
    progress.note("Removing what was started")
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _remove(home, progress, quiet=True)
    finally:
        signal.signal(signal.SIGINT, previous)


def _remove(home: Home, progress: Progress, *, quiet: bool = False) -> None:
    known = record.load(home)
    plane.stop(home)
    # The node leaves traces that only root can remove; they are there only after a root's start.
    if full_node.traces(home) or (known and known.mode == "node"):
        privileged.call("stop", home.identity)
    for folder in (home.path / "etcd", home.path / "kubectl-cache", home.path / "node", home.pki):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (home.record, home.kubeconfig, *plane.files(home)):
        file.unlink(missing_ok=True)
    if not quiet:
        progress.note(
            f"Down. Logs stay in {home.logs}" if known else "There was no cluster; nothing is left of one."
        )


@contextlib.contextmanager
def _one_at_a_time(home: Home) -> Iterator[None]:
    """Two commands that change the same cluster take turns."""
    home.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home.path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


__all__ = [
    "Api",
    "ClusterConfig",
    "ComponentState",
    "Record",
    "Status",
    "down",
    "load",
    "running",
    "status",
    "up",
]
