"""README's lines for a cluster of one's own, on an API server that has never heard of Stoker."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from stoker.local import control_plane, programs

_ROOT = Path(__file__).parents[2]
_CHAPTER = re.compile(r"^# On a cluster of your own\n+```\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _lines() -> list[str]:
    block = _CHAPTER.search((_ROOT / "README.md").read_text())
    assert block is not None
    return [line.partition("#")[0] for line in block[1].splitlines() if line.startswith("kubectl ")]


def test_the_lines_install_everything_on_a_fresh_cluster(kubectl_path: Path) -> None:
    with control_plane.temporary(programs.find(programs.CONTROL_PLANE).paths) as server:
        search = f"{kubectl_path.parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "PATH": search}
        check = "kubectl get clusterservingruntimes,deployments -A -o name"
        for line in [*_lines(), check]:
            done = subprocess.run(
                line.split(),
                cwd=_ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    for made in ("clusterservingruntime", "controller", "webhook", "gateway"):
        assert made in done.stdout
