"""The program as it is installed: a process with the rights of manifests/rbac, and nothing more."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoker.kube.client import ConnectionConfig, connect
from stoker.kube.resource import DEPLOYMENTS, EVENTS, LEASES, NAMESPACES, PODS, Key, Resource
from stoker.kube.verbs import Client
from stoker.local.control_plane import ApiServer
from tests.controller.world import World

pytestmark = pytest.mark.apiserver

ROOT = Path(__file__).parents[2]
RBAC = "rbac.authorization.k8s.io"
KINDS = {
    "ServiceAccount": Resource("", "v1", "serviceaccounts", "ServiceAccount"),
    "ClusterRole": Resource(RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False),
    "ClusterRoleBinding": Resource(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    "Role": Resource(RBAC, "v1", "roles", "Role"),
    "RoleBinding": Resource(RBAC, "v1", "rolebindings", "RoleBinding"),
}


async def install_rights(client: Client) -> None:
    """Apply manifests/rbac."""
    await client.apply(NAMESPACES, {"metadata": {"name": "stoker-system"}})
    for obj in yaml.safe_load_all((ROOT / "manifests" / "rbac" / "controller.yaml").read_text()):
        resource = KINDS[obj["kind"]]
        if resource.namespaced:
            obj["metadata"]["namespace"] = "stoker-system"
        await client.apply(resource, obj)


@pytest.fixture
async def kubeconfig(api_server: ApiServer, kubectl_path: Path, tmp_path: Path) -> Path:
    """Of the ServiceAccount that the manifests make."""
    admin = ConnectionConfig(str(api_server.kubeconfig), "admin", field_manager="admin")
    async with connect(admin) as client:
        await install_rights(client)
    token = await asyncio.to_thread(
        subprocess.check_output,
        [
            kubectl_path,
            f"--kubeconfig={api_server.kubeconfig}",
            "--namespace=stoker-system",
            "create",
            "token",
            "stoker-controller",
        ],
        timeout=30,
        text=True,
    )
    config: Any = yaml.safe_load(api_server.kubeconfig.read_text())
    for user in config["users"]:
        user["user"] = {"token": token.strip()}
    made = tmp_path / "kubeconfig"
    made.write_text(yaml.safe_dump(config))
    return made


@asynccontextmanager
async def program(
    kubeconfig: Path, *flags: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """The process, and the lines of its log so far."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "controller",
        f"--kubeconfig={kubeconfig}",
        "--health-port=0",
        "--log-format=json",
        "--state-poll=0.1",
        *flags,
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    lines: list[str] = []

    async def read() -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            lines.append(line.decode())

    reader = asyncio.create_task(read())
    try:
        yield process, lines
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reader


async def said(lines: list[str], words: str) -> str:
    for _ in range(400):
        found = next((line for line in lines if words in line), None)
        if found is not None:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"never said {words!r}: {''.join(lines)}")


async def fetch(port: int, path: str) -> str:
    def get() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as reply:
            return str(reply.read().decode())

    return await asyncio.to_thread(get)


async def test_it_works_with_the_rights_of_the_manifests_and_ends_in_order(
    world: World, kubeconfig: Path
) -> None:
    async with program(kubeconfig, "--leader-elect") as (process, lines), world.nodes():
        listening = await said(lines, "serving health and metrics")
        port = int(re.search(r'"port": (\d+)', listening)[1])  # type: ignore[index]
        await said(lines, "leading")
        assert await fetch(port, "/readyz") == "ok\n"
        await world.apply("a", minReplicas=2)
        await world.ready("a")
        await world.apply("a", "--x=2")
        await world.ready("a", 2)
        metrics = await fetch(port, "/metrics")
        assert 'workqueue_adds_total{controller="inferenceservice",name="inferenceservice"}' in metrics
        assert 'controller_runtime_max_concurrent_reconciles{controller="inferenceservice"} 4.0' in metrics
        assert 'leader_election_master_status{name="stoker-controller"} 1.0' in metrics
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    refused = [line for line in lines if "orbidden" in line or "Traceback" in line]
    assert refused == []
    lease = await world.client.get(LEASES, Key("stoker-system", "stoker-controller"))
    assert not lease["spec"].get("holderIdentity"), "given back, so that the next one need not wait"
    events = (await world.client.list(EVENTS, namespace=world.namespace)).items
    assert {"RevisionCreated", "Ready"} <= {each["reason"] for each in events}


async def test_a_standby_takes_over_from_one_that_was_killed(world: World, kubeconfig: Path) -> None:
    async with program(kubeconfig, "--leader-elect") as (first, one), world.nodes():
        await said(one, "leading")
        async with program(kubeconfig, "--leader-elect") as (second, two):
            await said(two, "waiting for the lease")
            await world.apply("a")
            await world.ready("a")
            assert not any("revision stored" in line for line in two), "a standby writes nothing"
            first.send_signal(signal.SIGTERM)
            await first.wait()
            await said(two, "leading")
            await world.apply("a", "--x=2")
            await world.ready("a", 2)
            assert second.returncode is None
    assert await world.names(DEPLOYMENTS) == ["a-predictor-00002"]
    assert await world.names(PODS)


async def test_no_api_server_is_waited_for_and_no_kubeconfig_is_said(tmp_path: Path) -> None:
    async with program(tmp_path / "none") as (process, lines):
        assert await asyncio.wait_for(process.wait(), 20) == 1
    assert "cannot read from" in "".join(lines)
