"""One real local cluster for the whole run; what a failure leaves behind is kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import ROOT, STOKER, Cluster, environment, save_artifacts

ARTIFACTS = ROOT / "artifacts" / time.strftime("e2e-%Y%m%d-%H%M%S")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster of this run's own, with one GPU; or the one in STOKER_E2E_HOME, left as it is."""
    subprocess.run([str(STOKER), "model", "fetch"], check=True, timeout=1200)
    kept = os.environ.get("STOKER_E2E_HOME")
    home = Path(kept) if kept else Path(tempfile.mkdtemp(prefix="stoker-e2e-"))
    env = {**os.environ, "STOKER_HOME": str(home)}
    try:
        started = subprocess.run([str(STOKER), "up", "--gpus", "1"], env=env, timeout=900, check=False)
        if started.returncode != 0:
            logs = ARTIFACTS / "up"
            shutil.copytree(
                home, logs, dirs_exist_ok=True, ignore=shutil.ignore_patterns("etcd", "*.sock", "containerd")
            )
            pytest.exit(f"stoker up failed (exit {started.returncode}); its logs: {logs}", returncode=1)
        yield Cluster(environment(home))
    finally:
        if not kept:
            subprocess.run([str(STOKER), "down"], env=env, timeout=180, check=False)
            shutil.rmtree(home, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Save artefacts while the failed test's objects are still there."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("cluster")
    if report.when == "call" and report.failed and isinstance(cluster, Cluster):
        folder = ARTIFACTS / item.name
        try:
            save_artifacts(cluster, folder)
            report.sections.append(("artefacts", str(folder)))
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            report.sections.append(("artefacts", f"not saved: {error}"))
    return report


@pytest.fixture(autouse=True)
def _clean(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test starts and ends without InferenceServices and runtimes of its own."""
    yield
    if "cluster" in request.fixturenames:
        cluster: Cluster = request.getfixturevalue("cluster")
        cluster.kubectl("delete", "inferenceservice,servingruntime", "--all", "-n", "default", "--wait=true")
        # What a test leaves running has nothing to drain: not waiting for it saves some seconds a test.
        pods = ("-l", "serving.kserve.io/inferenceservice", "-n", "default")
        cluster.kubectl("delete", "pods", *pods, "--force", "--grace-period=0", check=False)
        cluster.wait(
            "the namespace is empty",
            lambda: not cluster.get("pods", selector="serving.kserve.io/inferenceservice")["items"],
            timeout=90,
        )
