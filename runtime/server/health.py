"""Probes, metrics, and the state document."""

from __future__ import annotations

from aiohttp import web

from runtime.metrics import CONTENT_TYPE
from runtime.openai.encoding import encode
from runtime.server.service import SERVICE


def _answer(good: bool, document: dict[str, object]) -> web.Response:
    return web.Response(status=200 if good else 503, body=encode(document), content_type="application/json")


async def live(request: web.Request) -> web.Response:
    """200 from process start until the engine has failed. Never depends on load or drain."""
    alive = not request.app[SERVICE].dead
    return _answer(alive, {"live": alive})


async def ready(request: web.Request) -> web.Response:
    """200 from the first real inference until SIGTERM."""
    service = request.app[SERVICE]
    told = service.state.document()
    shown = {name: told[name] for name in ("phase", "phases", "progress")}
    return _answer(service.ready, {"ready": service.ready, **shown})


async def state(request: web.Request) -> web.Response:
    """The state document."""
    return _answer(True, request.app[SERVICE].state.document())


async def metrics(request: web.Request) -> web.Response:
    """Prometheus metrics."""
    return web.Response(body=request.app[SERVICE].metrics.render(), headers={"Content-Type": CONTENT_TYPE})
