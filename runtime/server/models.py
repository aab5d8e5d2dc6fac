"""GET models, OpenAI's and KServe's ways."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from runtime import __version__
from runtime.openai.encoding import encode
from runtime.openai.problem import model_not_found
from runtime.server.service import SERVICE, Service

# Of one request; those of connections and of the machine are nothing that a client can heed.
_LIMITS = (
    "max_body_bytes",
    "max_json_depth",
    "max_json_keys",
    "max_messages",
    "max_content_parts",
    "max_prompts",
    "max_n",
    "max_sequences_per_request",
    "max_stop_strings",
    "max_stop_bytes",
    "max_stop_token_ids",
    "max_logit_bias",
    "max_top_logprobs",
    "max_prompt_logprobs",
    "max_tools",
    "max_schema_bytes",
    "max_output_tokens",
    "max_characters_per_token",
    "max_concurrent_sequences",
    "max_waiting_tokens",
    "queue_seconds",
    "request_seconds",
    "key_tokens_per_minute",
)


def _json(document: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=encode(document), content_type="application/json")


def _model(service: Service, name: str) -> dict[str, Any]:
    """OpenAI's object, with KServe's `name` and `ready`; `limits`: what bounds a request, by flag."""
    limit = service.facts.max_model_len if service.ready else None
    return {
        "id": name,
        "object": "model",
        "created": service.started,
        "owned_by": "stoker",
        "root": service.settings.model_id,
        "max_model_len": limit,
        "name": name,
        "ready": service.ready,
        "limits": {name: getattr(service.settings.bounds, name) for name in _LIMITS},
    }


async def list_models(request: web.Request) -> web.Response:
    """GET /v1/models."""
    service = request.app[SERVICE]
    models = [_model(service, name) for name in service.settings.names]
    return _json({"object": "list", "data": models})


async def get_model(request: web.Request) -> web.Response:
    """GET /v1/models/{id}; ids may hold slashes. 503 until the model is ready."""
    service = request.app[SERVICE]
    name = request.match_info["name"]
    service.require_model(name)
    return _json(_model(service, name), 200 if service.ready else 503)


async def v2_server(request: web.Request) -> web.Response:
    """GET /v2: KServe's server metadata."""
    return _json({"name": "stoker", "version": __version__, "extensions": []})


async def v2_models(request: web.Request) -> web.Response:
    """GET /v2/models: the names."""
    return _json({"models": list(request.app[SERVICE].settings.names)})


async def v2_model(request: web.Request) -> web.Response:
    """GET /v2/models/{name}: KServe's model metadata."""
    service = request.app[SERVICE]
    name = request.match_info["name"]
    service.require_model(name)
    backend = service.state.backend
    platform = f"stoker-{backend.name.value}" if backend else ""
    return _json({"name": name, "versions": [], "platform": platform, "inputs": [], "outputs": []})


async def v2_model_ready(request: web.Request) -> web.Response:
    """GET /v2/models/{name}/ready."""
    service = request.app[SERVICE]
    name = request.match_info["name"]
    if name not in service.settings.names:
        raise model_not_found(name)
    return _json({"name": name, "ready": service.ready}, 200 if service.ready else 503)
