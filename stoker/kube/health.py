"""/healthz, /readyz and /metrics of a program."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

log = structlog.get_logger()

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class HealthServer:
    """Answers probes and scrapes, on leader and standby alike, from before the start of anything slow.

    `live` lists reasons to restart the process (that the API server is away is none: a restart does not
    help); `ready` lists reasons not to be sent traffic. Empty means well. The lists stand in the replies.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        live: Callable[[], list[str]],
        ready: Callable[[], list[str]],
        metrics: Callable[[], bytes] | None = None,
    ) -> None:
        self._host = host
        self.port = port
        """0 until the server runs means any free one; afterwards, the one it got."""
        app = web.Application()
        app.router.add_get("/healthz", _probe(live))
        app.router.add_get("/readyz", _probe(ready))
        if metrics is not None:
            app.router.add_get("/metrics", _scrape(metrics))
        self._app = app

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve while the body runs. OSError where the port is taken."""
        runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self.port).start()
            self.port = runner.addresses[0][1]
            log.info("serving health and metrics", host=self._host, port=self.port)
            yield
        finally:
            await runner.cleanup()


def _probe(problems: Callable[[], list[str]]) -> Handler:
    async def probe(_: web.Request) -> web.Response:
        found = problems()
        if found:
            return web.Response(status=503, text="\n".join(found) + "\n")
        return web.Response(text="ok\n")

    return probe


def _scrape(metrics: Callable[[], bytes]) -> Handler:
    async def scrape(_: web.Request) -> web.Response:
        # Not by content_type=, which takes no parameters.
        return web.Response(body=metrics(), headers={"Content-Type": _METRICS_TYPE})

    return scrape
