"""The routes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from runtime import loop_lag
from runtime.server import health, models
from runtime.server.edge import Handler, edge, stamp
from runtime.server.embeddings import embeddings
from runtime.server.generation import chat_completions, completions
from runtime.server.service import SERVICE, Service
from runtime.server.tokens import detokenize, tokenize

BASES = ("/openai/v1", "/v1")


def make_app(service: Service) -> web.Application:
    """The application around one service."""
    app = web.Application(middlewares=[edge], client_max_size=service.settings.bounds.max_body_bytes)
    app[SERVICE] = service
    app.on_response_prepare.append(stamp)
    app.cleanup_ctx.append(_background)

    def add(method: str, path: str, handler: Handler) -> None:
        app.router.add_route(method, path, handler)

    for base in BASES:
        add("GET", f"{base}/models", models.list_models)
        add("GET", f"{base}/models/{{name:.+}}", models.get_model)
        add("POST", f"{base}/completions", completions)
        add("POST", f"{base}/chat/completions", chat_completions)
        add("POST", f"{base}/embeddings", embeddings)
        add("POST", f"{base}/tokenize", tokenize)
        add("POST", f"{base}/detokenize", detokenize)
    # Where vLLM has them.
    add("POST", "/tokenize", tokenize)
    add("POST", "/detokenize", detokenize)
    add("GET", "/ready", health.ready)
    add("GET", "/live", health.live)
    add("GET", "/health", health.ready)
    add("GET", "/v2/health/ready", health.ready)
    add("GET", "/v2/health/live", health.live)
    add("GET", "/v2", models.v2_server)
    add("GET", "/v2/models", models.v2_models)
    add("GET", "/v2/models/{name:.+}/ready", models.v2_model_ready)
    add("GET", "/v2/models/{name:.+}", models.v2_model)
    add("GET", "/metrics", health.metrics)
    add("GET", "/stoker/v1/state", health.state)
    return app


@contextlib.asynccontextmanager
async def _background(app: web.Application) -> AsyncIterator[None]:
    """What goes on beside requests: following the API keys' file, sampling the loop, sending traces."""
    service = app[SERVICE]
    beside = [asyncio.create_task(loop_lag.sample(service.metrics.loop_lag.observe))]
    if service.keys is not None:
        beside.append(asyncio.create_task(service.keys.follow()))
    yield
    for task in beside:
        task.cancel()
    await service.close()
    await asyncio.to_thread(service.tracing.shut_down)
