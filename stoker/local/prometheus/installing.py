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
    if not home.prometheus.exists() or home.prometheus.resolve() != found:
        home.prometheus.unlink(missing_ok=True)
        home.prometheus.symlink_to(found)
    kubectl.apply(objects.manifest(source))


def remove(api: Api, kubectl: Kubectl, source: Path) -> None:
    """Delete it where it is."""
    if api.get(f"/api/v1/namespaces/{objects.NAMESPACE}") is not None:
        manifest = objects.manifest(source)
        kubectl.run("delete", "--ignore-not-found", "--wait=false", "--filename=-", text=manifest)
