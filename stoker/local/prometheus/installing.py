"""Bringing Prometheus into a running cluster, and taking it out again."""

from __future__ import annotations

from pathlib import Path

from stoker.local.api import Api
from stoker.local.home import Home
from stoker.local.kubectl import Kubectl
from stoker.local.progress import Progress
from stoker.local.prometheus import objects
from stoker.local.prometheus.program import program


def install(kubectl: Kubectl, home: Home, source: Path, progress: Progress) -> None:
    """Apply its objects; harmless when they are there. Raises LocalError without a program to run."""
    found = program("prometheus", note=progress.note).resolve()
    home.prometheus.mkdir(exist_ok=True)
    _link(home.prometheus / "prometheus", found)
    share, none = found.parent.parent / "share", home.prometheus / "none"
    none.mkdir(exist_ok=True)
    # Debian's build reads its pages from there; others bring them along.
    _link(home.prometheus / "share", share if (share / "prometheus").exists() else none)
    kubectl.apply(objects.manifest(source))


def _link(link: Path, to: Path) -> None:
    temporary = link.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(to)
    temporary.replace(link)


def remove(api: Api, kubectl: Kubectl, source: Path) -> None:
    """Delete it where it is; returns when it is gone, so that it can be asked for again."""
    if api.get(f"/api/v1/namespaces/{objects.NAMESPACE}") is not None:
        manifest = objects.manifest(source)
        kubectl.run("delete", "--ignore-not-found", "--timeout=60s", "--filename=-", text=manifest)
