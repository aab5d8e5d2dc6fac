"""The local cluster itself: beside another one, restarted code, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from e2e.cluster import ROOT, STOKER, Cluster, environment
from e2e.objects import ECHO_RUNTIME, inference_service
from tests.ports import free_port


def test_stoker_leaves_room_for_a_second_service(cluster: Cluster) -> None:
    """Half a CPU and 4 GiB of a 2-core, 8 GiB machine stay free beside Stoker and the sample."""
    pods = (
        cluster.get("pods", namespace="stoker-system")["items"]
        + cluster.get("pods", namespace="kube-system")["items"]
    )
    requests = [c["resources"].get("requests", {}) for pod in pods for c in pod["spec"]["containers"]]
    sample = yaml.safe_load((ROOT / "manifests/samples/smollm2.yaml").read_text())
    requests.append(sample["spec"]["predictor"]["model"]["resources"]["requests"])
    assert sum(cpu(r.get("cpu", "0")) for r in requests) <= 1.5
    assert sum(mebibytes(r.get("memory", "0")) for r in requests) <= 4096


def cpu(text: str) -> float:
    return float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)


def mebibytes(text: str) -> float:
    units = {"Ki": 1 / 1024, "Mi": 1.0, "Gi": 1024.0}
    return float(text[:-2]) * units[text[-2:]] if text[-2:] in units else float(text) / 2**20


def test_up_again_is_harmless_and_status_says_what_runs(cluster: Cluster) -> None:
    before = {p["metadata"]["uid"] for p in cluster.get("pods", namespace="stoker-system")["items"]}
    cluster.stoker("up", "--gpus", "1")
    after = {p["metadata"]["uid"] for p in cluster.get("pods", namespace="stoker-system")["items"]}
    assert after == before
    said = cluster.stoker("status")
    for component in ("kube-apiserver", "kubelet", "stoker-controller", "stoker-webhook", "stoker-gateway"):
        assert component in said


def test_load_puts_changed_code_into_the_cluster(cluster: Cluster) -> None:
    before = {p["metadata"]["uid"] for p in cluster.get("pods", namespace="stoker-system")["items"]}
    cluster.stoker("load")
    after = cluster.get("pods", namespace="stoker-system")["items"]
    running = {p["metadata"]["uid"] for p in after if not p["metadata"].get("deletionTimestamp")}
    assert running
    assert not running & before
    assert "reconcile" in cluster.stoker("logs", "controller") or cluster.stoker("logs", "controller")


def stoker(env: dict[str, str], *args: str) -> None:
    """Run the stoker command for another home; what it printed is in the failure."""
    done = subprocess.run(
        [str(STOKER), *args], env=env, timeout=240, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (
        f"stoker {' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    )


def leftovers(mark: str) -> list[str]:
    """Processes, mounts, links and cgroups that carry the mark in their name."""
    commands = {
        "process": ["pgrep", "-af", mark],
        "mount": ["grep", "-F", mark, "/proc/mounts"],
        "link": ["ip", "-o", "link"],
        "namespace": ["ip", "netns", "list"],
    }
    found = []
    for kind, command in commands.items():
        out = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        found += [
            f"{kind}: {line}" for line in out.splitlines() if mark in line and str(os.getpid()) not in line
        ]
    return found


@pytest.mark.timeout(300)
def test_a_second_cluster_beside_the_first_leaves_nothing(cluster: Cluster, tmp_path: Path) -> None:
    home = tmp_path / "second"
    env = {**os.environ, "STOKER_HOME": str(home)}
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout.count(
        "\n"
    )
    try:
        stoker(env, "up")
        second = Cluster(environment(home))
        assert second.env["INGRESS_HOST"] != cluster.env["INGRESS_HOST"]
        node = second.get("nodes")["items"][0]
        assert "nvidia.com/gpu" not in node["status"]["capacity"], "GPUs only where asked for"
        # It crashed: its node's processes are gone without a word.
        subprocess.run(["pkill", "-KILL", "-f", f"kubelet.*{home}"], check=False)
    finally:
        stoker(env, "down")
    assert leftovers(str(home)) == []
    assert (
        subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout.count("\n")
        == links
    )
    assert cluster.kubectl("get", "nodes"), "the first one did not notice"


@pytest.mark.timeout(180)
def test_control_plane_only(tmp_path: Path) -> None:
    """The API server with Stoker's programs as processes: admission and status work, no node is there."""
    env = {**os.environ, "STOKER_HOME": str(tmp_path / "plane")}
    try:
        stoker(env, "up", "--control-plane-only")
        plane = Cluster(environment(tmp_path / "plane"))
        with pytest.raises(AssertionError, match=r"spec\.predictor\.model\.modelFormat\.name"):
            plane.apply(inference_service("wrong", model={"modelFormat": {"name": "hugingface"}}))
        plane.apply(inference_service("right", "--model_id=HuggingFaceTB/SmolLM2-135M-Instruct"))
        plane.wait("a status", lambda: plane.condition("right").get("reason"))
        assert plane.get("deployments", "right-predictor-00001")
    finally:
        stoker(env, "down")
    assert leftovers(str(tmp_path)) == []


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """`stoker run -f` with the echo engine: no Kubernetes, no root."""
    port = free_port()
    manifest = tmp_path / "echo.yaml"
    manifest.write_text(
        yaml.safe_dump(inference_service("alone", "--backend=echo", "--echo_token_seconds=0.2"))
    )
    process = subprocess.Popen([str(STOKER), "run", "-f", str(manifest), "--port", str(port)], text=True)
    yield port, process
    if process.poll() is None:
        process.kill()
    process.wait()


@pytest.mark.timeout(90)
def test_run_without_kubernetes_and_drain_on_ctrl_c(alone: tuple[int, subprocess.Popen[str]]) -> None:
    port, process = alone
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/ready", timeout=2):
                break
        except OSError:
            time.sleep(0.2)
    body = json.dumps({"model": "alone", "prompt": "a b c d e f", "max_tokens": 6, "stream": True}).encode()
    request = urllib.request.Request(
        f"{url}/openai/v1/completions", body, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        first = answer.readline()
        process.send_signal(signal.SIGINT)
        rest = answer.read()
    assert first.startswith(b"data: {")
    assert rest.rstrip().endswith(b"data: [DONE]"), "the answer under way was finished"
    assert process.wait(timeout=30) == 0


def test_echo_runtime_is_accepted(cluster: Cluster) -> None:
    cluster.apply(ECHO_RUNTIME)
    assert cluster.get("servingruntime", "echo")["spec"]["containers"][0]["name"] == "kserve-container"
