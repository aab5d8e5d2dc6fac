"""The whole program: a real API server, the real program, a real Envoy; only the pods' kubelet is missing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.bootstrap import LOOPBACK, Ports
from gateway.views import INFERENCE_SERVICES
from stoker.kube.client import Client, ConnectionConfig, connect
from stoker.kube.resource import NAMESPACES, PODS, Key
from stoker.serving import names
from tests.gateway.bench import PATIENCE, Upstream, envoy_running
from tests.ports import free_port

pytestmark = [pytest.mark.apiserver, pytest.mark.envoy]

_ROOT = Path(__file__).parents[2]
_NAMESPACE = "gateway-program"


@contextlib.asynccontextmanager
async def _program(kubeconfig: Path, folder: Path, *flags: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", f"--kubeconfig={kubeconfig}", *flags),
        cwd=_ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stderr=(folder / "gateway.log").open("wb"),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _status(client: aiohttp.ClientSession, url: str, host: str = "") -> tuple[int, str]:
    try:
        async with client.get(url, headers={"Host": host} if host else {}) as response:
            return response.status, await response.text()
    except aiohttp.ClientConnectorError:
        return 0, ""


async def _until(client: aiohttp.ClientSession, url: str, status: int, host: str = "") -> str:
    async with asyncio.timeout(PATIENCE):
        while True:
            found, body = await _status(client, url, host)
            if found == status:
                return body
            await asyncio.sleep(0.05)


async def _ready_pod(client: Client, service: str, revision: str, port: int) -> None:
    name = f"{revision}-x"
    container = {"name": "kserve-container", "image": "x", "ports": [{"name": "http", "containerPort": port}]}
    labels = names.labels(service, revision)
    made = await client.create(
        PODS,
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": _NAMESPACE, "labels": labels},
            # Bound to a node, else a status with an IP is refused; without a token, which nobody makes here.
            "spec": {"containers": [container], "nodeName": "none", "automountServiceAccountToken": False},
        },
    )
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status: dict[str, Any] = {
        "phase": "Running",
        "podIP": LOOPBACK,
        "podIPs": [{"ip": LOOPBACK}],
        "conditions": [ready],
    }
    key = Key(_NAMESPACE, made["metadata"]["name"])
    await client.merge_patch(PODS, key, {"status": status}, subresource="status")


async def _walk(client: Client, http: aiohttp.ClientSession, url: str, upstream: Upstream) -> None:
    """An InferenceService comes, its pod gets ready, the pod ends, the InferenceService goes."""
    host = f"mini.{_NAMESPACE}.example.com"
    key = Key(_NAMESPACE, "mini")
    model = {"modelFormat": {"name": "huggingface"}}
    await client.create(
        INFERENCE_SERVICES,
        {
            "apiVersion": INFERENCE_SERVICES.api_version,
            "kind": INFERENCE_SERVICES.kind,
            "metadata": {"name": key.name, "namespace": key.namespace},
            "spec": {"predictor": {"model": model}},
        },
    )
    assert "no ready pod" in await _until(http, url, 503, host)
    share = {"revisionName": "mini-predictor-00001", "percent": 100, "latestRevision": True}
    status = {"components": {"predictor": {"traffic": [share]}}}
    await client.merge_patch(INFERENCE_SERVICES, key, {"status": status}, subresource="status")
    await _ready_pod(client, "mini", "mini-predictor-00001", upstream.port)
    assert '"pod": "one"' in await _until(http, url, 200, host)
    await client.delete(PODS, Key(_NAMESPACE, "mini-predictor-00001-x"))
    await _until(http, url, 503, host)
    await client.delete(INFERENCE_SERVICES, key)
    assert "unknown_host" in await _until(http, url, 404, host)


async def test_objects_in_the_api_server_become_routes(api_server: Any, tmp_path: Path) -> None:
    ports = Ports(free_port(), free_port(), free_port())
    health, listener = free_port(), free_port()
    flags = [
        *(f"--health-port={health}", f"--listener-port={listener}", f"--xds-port={ports.xds}"),
        *(f"--envoy-admin-port={ports.admin}", f"--envoy-stats-port={ports.stats}"),
        *(f"--bootstrap-out={tmp_path / 'written.yaml'}", "--drain-seconds=5", "--log-format=json"),
    ]
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(connect(ConnectionConfig(str(api_server.kubeconfig))))
        await client.apply(
            NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}}
        )
        upstream = await stack.enter_async_context(Upstream("one").running())
        http = await stack.enter_async_context(aiohttp.ClientSession())
        program = await stack.enter_async_context(_program(api_server.kubeconfig, tmp_path, *flags))
        await stack.enter_async_context(envoy_running(tmp_path, ports))
        await _until(http, f"http://{LOOPBACK}:{health}/readyz", 200)
        await _until(http, f"http://{LOOPBACK}:{ports.stats}/ready", 200)
        assert (tmp_path / "written.yaml").read_text() == (tmp_path / "envoy.yaml").read_text()
        await _walk(client, http, f"http://{LOOPBACK}:{listener}", upstream)
        metrics = await _until(http, f"http://{LOOPBACK}:{health}/metrics", 200)
        assert "stoker_gateway_connected_envoys 1.0" in metrics
        program.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(program.wait(), PATIENCE) == 0
        assert "draining Envoy" in (tmp_path / "gateway.log").read_text()


async def test_it_is_not_ready_while_the_api_server_is_away(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        f"""{{apiVersion: v1, kind: Config, current-context: c,
        clusters: [{{name: c, cluster: {{server: "http://{LOOPBACK}:9"}}}}],
        users: [{{name: c, user: {{}}}}], contexts: [{{name: c, context: {{cluster: c, user: c}}}}]}}"""
    )
    health = free_port()
    async with (
        aiohttp.ClientSession() as http,
        _program(kubeconfig, tmp_path, f"--health-port={health}", "--xds-port=0") as program,
    ):
        await _until(http, f"http://{LOOPBACK}:{health}/healthz", 200)
        body = await _until(http, f"http://{LOOPBACK}:{health}/readyz", 503)
        assert "no snapshot" in body
        program.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(program.wait(), PATIENCE) == 0


async def test_settings_that_are_wrong_end_it_with_the_reason(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("domian: example.org\n")
    async with _program(tmp_path / "none", tmp_path, f"--settings-file={settings}") as program:
        assert await asyncio.wait_for(program.wait(), PATIENCE) == 2
    assert "domian" in (tmp_path / "gateway.log").read_text()


def test_sigterm_is_heard_before_the_long_imports() -> None:
    """Process 1 of a container ignores it else, and the pod waits for its whole grace period."""
    watch = """
import signal, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "gateway.program":
            signal.raise_signal(signal.SIGTERM)
sys.meta_path.insert(0, Watch())
import gateway.__main__
"""
    done = subprocess.run([sys.executable, "-c", watch], timeout=30, check=False)
    assert done.returncode == 128 + signal.SIGTERM, "ended by its own hand, not by the kernel's (-15)"
