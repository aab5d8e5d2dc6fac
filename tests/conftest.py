"""Fixtures that several rooms share: a real API server with Stoker's CRDs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from stoker.local import building, control_plane, programs
from stoker.local.control_plane import ApiServer
from stoker.local.progress import Progress

# How long an example takes says how busy the machine is, not whether the code is right. What a change is
# judged by must not depend on luck: new examples are looked for by people's runs, known ones replayed in CI.
settings.register_profile(
    "stoker",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("stoker")

_CRDS = Path(__file__).parent.parent / "manifests" / "crds"


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    """etcd and kube-apiserver on free ports, CRDs served, no ClusterServingRuntime.

    There is no controller-manager: nothing collects garbage, finishes a namespace's deletion or
    makes ServiceAccounts; pods are stored and never run.
    """
    found = programs.find(programs.CONTROL_PLANE)
    if found.missing:
        names = ", ".join(program.name for program in found.missing)
        pytest.fail(f"missing: {names}; `.venv/bin/stoker binaries` builds them once")
    with control_plane.temporary(found.paths) as server:
        _install_crds(server)
        yield server


@pytest.fixture(scope="session")
def kubectl_path() -> Path:
    """kubectl, from PATH or the cache."""
    return building.kubectl(Progress())


def _install_crds(server: ApiServer) -> None:
    files = sorted(path for path in _CRDS.glob("*.yaml") if path.name != "kustomization.yaml")
    if not files:
        return
    kubectl = [str(building.kubectl(Progress())), f"--kubeconfig={server.kubeconfig}"]
    apply = [*kubectl, "apply", "--server-side", *(f"--filename={path}" for path in files)]
    wait = [*kubectl, "wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"]
    for command in (apply, wait):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
