"""The routes."""

from __future__ import annotations

from aiohttp import web

from runtime.server import health, models
from runtime.server.edge import edge, stamp
from runtime.server.generation import chat_completions, completions
from runtime.server.service import SERVICE, Service

BASES = ("/openai/v1", "/v1")


def make_app(service: Service) -> web.Application:
    """The application around one service."""
    app = web.Application(middlewares=[edge], client_max_size=service.settings.bounds.max_body_bytes)
    app[SERVICE] = service
    app.on_response_prepare.append(stamp)
    add = app.router.add_route
    for base in BASES:
        add("GET", f"{base}/models", models.list_models)
        add("GET", f"{base}/models/{{name:.+}}", models.get_model)
        add("POST", f"{base}/completions", completions)
        add("POST", f"{base}/chat/completions", chat_completions)
    add("GET", "/ready", health.ready)
    add("GET", "/live", health.live)
    add("GET", "/health", health.ready)
    add("GET", "/v2/health/ready", health.ready)
    add("GET", "/v2/health/live", health.live)
    add("GET", "/v2/models/{name:.+}/ready", models.v2_model_ready)
    add("GET", "/v2/models/{name:.+}", models.v2_model)
    add("GET", "/metrics", health.metrics)
    add("GET", "/stoker/v1/state", health.state)
    return app
