"""The real server in the test's own event loop, on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from openai import AsyncOpenAI

from runtime.engines.base import Engine
from runtime.flags.parse import parse
from runtime.flags.settings import Settings
from runtime.lifecycle import Lifecycle
from runtime.metrics import Metrics
from runtime.server.app import make_app
from runtime.server.connections import Runner
from runtime.server.service import Service
from runtime.state import Phase, State


@dataclass
class Server:
    service: Service
    lifecycle: Lifecycle
    run: asyncio.Task[None]
    url: str
    http: aiohttp.ClientSession
    openai: AsyncOpenAI

    @property
    def engine(self) -> Engine:
        return self.service.engine

    async def post(self, path: str, body: object, **options: object) -> tuple[int, dict[str, object]]:
        async with self.http.post(self.url + path, json=body, **options) as answer:
            return answer.status, await answer.json()


class GivenEngine(Lifecycle):
    """A lifecycle that serves an engine made by the test."""

    def __init__(self, settings: Settings, service: Service, engine: Engine) -> None:
        super().__init__(settings, service)
        self._given = engine

    async def _choose(self) -> Engine:
        return self._given


async def reach(state: State, *phases: Phase, seconds: float = 60) -> None:
    """Waits for one of the phases."""
    arrived = asyncio.Event()

    def look(changed: State) -> None:
        if changed.phase in phases:
            arrived.set()

    state.on_change(look)
    async with asyncio.timeout(seconds):
        await arrived.wait()


@contextlib.asynccontextmanager
async def serve(*flags: str, engine: Engine | None = None, wait: bool = True) -> AsyncIterator[Server]:
    """`python -m runtime` without the process: everything but signals and exit codes."""
    settings = parse(["--backend=echo", "--model_name=m", *flags])
    state = State(name=settings.model_name, model_id=settings.model_id, revision=None)
    metrics = Metrics()
    state.on_change(metrics.follow)
    service = Service(settings, state, metrics)
    lifecycle = GivenEngine(settings, service, engine) if engine else Lifecycle(settings, service)
    runner = Runner(make_app(service), service, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    run = asyncio.create_task(lifecycle.run())
    http = aiohttp.ClientSession()
    client = AsyncOpenAI(base_url=f"{url}/openai/v1", api_key="none", max_retries=0, timeout=60)
    try:
        if wait:
            await reach(state, Phase.READY, Phase.FAILED)
        yield Server(service, lifecycle, run, url, http, client)
    finally:
        await client.close()
        await http.close()
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        if lifecycle.engine is not None:
            await lifecycle.engine.stop()
        await runner.cleanup()
