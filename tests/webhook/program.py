"""The webhook as its own process beside a real API server, registered by URL."""

from __future__ import annotations

import asyncio
import base64
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from stoker.kube.client import ApiError, Client, ConnectionConfig, connect
from stoker.kube.resource import NAMESPACES, SECRETS, VALIDATING_WEBHOOK_CONFIGURATIONS, Key, Resource
from stoker.local.control_plane import ApiServer
from tests.ports import free_port
from tests.webhook.objects import ARGS_SCHEMAS, Object, bad_inference_service
from webhook.registration import NAME
from webhook.secret import SECRET

INFERENCE_SERVICES = Resource("serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService")
CLUSTER_RUNTIMES = Resource(
    "serving.kserve.io", "v1alpha1", "clusterservingruntimes", "ClusterServingRuntime", namespaced=False
)
_ROOT = Path(__file__).parents[2]


class Webhook:
    """One replica: a process, its ports, its log."""

    def __init__(self, server: ApiServer, namespace: str, folder: Path, *flags: str) -> None:
        self.port, self.health_port = free_port(), free_port()
        self.log = folder / f"webhook-{self.port}.log"
        command = [sys.executable, "-m", "webhook", f"--kubeconfig={server.kubeconfig}"]
        command += [f"--namespace={namespace}", f"--port={self.port}", f"--health-port={self.health_port}"]
        command += [f"--url=https://127.0.0.1:{self.port}", f"--args-schemas={ARGS_SCHEMAS}"]
        command += [
            "--drain=1s",
            "--linger=0s",
            "--log-format=json",
            *flags,
        ]  # the last of two equal flags counts
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=_ROOT, stdout=log, stderr=log)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(20)


class Cluster:
    """The API server with one namespace for webhooks' Secrets; what the tests ask of it."""

    def __init__(self, server: ApiServer, client: Client, namespace: str, folder: Path) -> None:
        self.server = server
        self.client = client
        self.namespace = namespace
        self.folder = folder
        self.replicas: list[Webhook] = []

    async def start(self, *flags: str) -> Webhook:
        """A replica that is registered, or with --no-register one that is ready."""
        replica = Webhook(self.server, self.namespace, self.folder, *flags)
        self.replicas.append(replica)
        done = self._ready if "--no-register" in flags else self._registered
        await eventually(lambda: done(replica), f"the webhook is not up: {replica.log}")
        return replica

    async def start_ready(self, *flags: str) -> Webhook:
        """A replica that is ready, registered or not."""
        replica = Webhook(self.server, self.namespace, self.folder, *flags)
        self.replicas.append(replica)
        await eventually(lambda: self._ready(replica), f"the webhook is not up: {replica.log}")
        return replica

    async def secret(self) -> Object:
        return await self.client.get(SECRETS, Key(self.namespace, SECRET))

    async def registration(self) -> Object:
        return await self.client.get(VALIDATING_WEBHOOK_CONFIGURATIONS, Key("", NAME))

    async def bundle(self) -> bytes:
        config = (await self.registration())["webhooks"][0]["clientConfig"]
        return base64.b64decode(config["caBundle"])

    async def _registered(self, replica: Webhook) -> bool:
        assert replica.process.poll() is None, replica.log.read_text()
        try:
            config = (await self.registration())["webhooks"][0]["clientConfig"]
        except ApiError:
            return False
        return str(config["url"]).endswith(f":{replica.port}/validate") and await self.asked()

    async def asked(self) -> bool:
        """The API server learns the registration from a watch: wait until it asks."""
        try:
            await self.client.create(INFERENCE_SERVICES, bad_inference_service("probe"), dry_run=True)
        except ApiError as error:
            return error.status == 422 and "admission webhook" in error.message
        return False

    async def _ready(self, replica: Webhook) -> bool:
        assert replica.process.poll() is None, replica.log.read_text()
        with suppress(OSError):
            return (await get(replica.health_port, "/readyz")).startswith("HTTP/1.1 200")
        return False


async def get(port: int, path: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.decode()


async def eventually(condition: Callable[[], Any], message: str, seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < end, message
        await asyncio.sleep(0.1)


@asynccontextmanager
async def cluster(server: ApiServer, folder: Path, namespace: str) -> AsyncIterator[Cluster]:
    """Afterwards nothing is registered any more: other tests' objects are not judged by a dead webhook."""
    config = ConnectionConfig(str(server.kubeconfig), field_manager="webhook-tests")
    async with connect(config) as client:
        await client.apply(NAMESPACES, {"metadata": {"name": namespace}})
        made = Cluster(server, client, namespace, folder)
        try:
            yield made
        finally:
            for replica in made.replicas:
                replica.stop(signal.SIGKILL)
            await client.delete(VALIDATING_WEBHOOK_CONFIGURATIONS, Key("", NAME))
