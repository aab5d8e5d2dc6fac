"""POST tokenize and detokenize, vLLM's way."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from runtime.openai.encoding import encode
from runtime.openai.fields import Fields
from runtime.openai.limits import are_token_ids
from runtime.openai.problem import ApiProblem
from runtime.openai.prompts import read_messages
from runtime.openai.requests import read_model
from runtime.server.body import read_json
from runtime.server.service import SERVICE


async def tokenize(request: web.Request) -> web.Response:
    """POST /v1/tokenize: a `prompt` or `messages` as the tokens that the endpoints hand to the model."""
    service = request.app[SERVICE]
    service.require_open()
    limits = service.limits
    fields = Fields(_object(await read_json(request, service.settings.bounds)))
    model = read_model(fields)
    with_text = fields.truth("return_token_strs")
    if fields.has("messages") == fields.has("prompt"):
        fields.wrong("prompt", "or `messages` is needed, and not both")
    messages = read_messages(fields, limits) if fields.has("messages") else ()
    prompt = fields.text("prompt", limits.max_characters) if fields.has("prompt") else None
    fields.finish(("prompt", "messages"))
    fields.raise_problems()
    service.require_model(model)
    if prompt is not None:
        tokens = await service.tokenizing.text(prompt, "prompt") if prompt else ()
    else:
        tokens = await service.tokenizing.chat(messages)
    document: dict[str, Any] = {
        "count": len(tokens),
        "max_model_len": limits.max_model_len,
        "tokens": list(tokens),
        "token_strs": None,
    }
    if with_text:
        document["token_strs"] = await service.tokenizing.texts(tokens, "prompt" if prompt else "messages")
    return web.Response(body=encode(document), content_type="application/json")


async def detokenize(request: web.Request) -> web.Response:
    """POST /v1/detokenize: `tokens` as text, special ones left out."""
    service = request.app[SERVICE]
    service.require_open()
    limits = service.limits
    fields = Fields(_object(await read_json(request, service.settings.bounds)))
    model = read_model(fields)
    tokens = fields.take("tokens")
    most = limits.max_model_len
    if not isinstance(tokens, list) or len(tokens) > most or not are_token_ids(tokens, limits):
        fields.wrong("tokens", f"must be at most {most} token ids below {limits.vocab_size}")
    fields.finish()
    fields.raise_problems()
    service.require_model(model)
    text = await service.tokenizing.decoded(tokens)
    return web.Response(body=encode({"prompt": text}), content_type="application/json")


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ApiProblem(400, "The body must be a JSON object.", code="invalid_json")
    return body
