"""Whose log is where: components of the node write files, Stoker's own run in pods."""

from __future__ import annotations

import subprocess
from pathlib import Path

from stoker.local import cluster, record
from stoker.local.cluster import ClusterConfig
from stoker.local.failures import LocalError
from stoker.local.full_node import STOKER
from stoker.local.installation import NAMESPACE
from stoker.local.progress import Progress
from stoker.local.prometheus import objects


def names(config: ClusterConfig) -> list[str]:
    """Every name that `show` takes."""
    files = sorted(path.stem for path in config.home.logs.glob("*.log"))
    return [*files, *(pod for pod in _pods(config) if pod not in files)]


def show(config: ClusterConfig, component: str, *, follow: bool, lines: int) -> int:
    """Print a log; `controller`, `webhook` and `gateway` are short for Stoker's own. The exit code."""
    for name in (component, f"stoker-{component}"):
        if name in _pods(config):
            return _run(_of_pods(config, name, follow, lines))
        if config.home.log(name).exists():
            return _run(_of_file(config.home.log(name), follow, lines))
    known = ", ".join(names(config)) or "none: no cluster was started here"
    raise LocalError(f"There is no log of a component called {component}.", f"Known are: {known}.")


def _pods(config: ClusterConfig) -> dict[str, str]:
    """Deployments by name, with their namespaces."""
    known = record.load(config.home)
    if known is None or known.mode != "node":
        return {}
    asked_for = {objects.NAME: objects.NAMESPACE} if known.prometheus else {}
    return dict.fromkeys(STOKER, NAMESPACE) | {"coredns": "kube-system"} | asked_for


def _of_pods(config: ClusterConfig, name: str, follow: bool, lines: int) -> list[str]:
    kubectl = cluster.kubectl_of(config, Progress())
    namespace = _pods(config)[name]
    # Envoy's lines come with the gateway's, marked by container.
    flags = ["--all-containers", f"--tail={lines}", *(["--follow"] if follow else [])]
    return kubectl.command("logs", f"--namespace={namespace}", f"deployment/{name}", *flags)


def _of_file(path: Path, follow: bool, lines: int) -> list[str]:
    return ["tail", f"--lines={lines}", *(["--follow=name", "--retry"] if follow else []), str(path)]


def _run(command: list[str]) -> int:
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return 0
