"""POST embeddings."""

from __future__ import annotations

import array
import base64
import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, cast

from aiohttp import web

from runtime.engines.base import Embedder
from runtime.openai.encoding import encode
from runtime.openai.envelope import Usage
from runtime.openai.fields import Fields
from runtime.openai.problem import ApiProblem
from runtime.openai.prompts import read_prompts, too_long
from runtime.openai.requests import LABELS, read_model
from runtime.server import deadline
from runtime.server.body import read_json
from runtime.server.edge import USAGE
from runtime.server.service import SERVICE

_MOST_DIMENSIONS = 65536


async def embeddings(request: web.Request) -> web.Response:
    """POST /v1/embeddings: a vector of length 1 for each input."""
    service = request.app[SERVICE]
    service.require_open()
    if not service.facts.embeds:
        message = "This model writes text; for embeddings serve a model with --task=text_embedding."
        raise ApiProblem(400, message, param="model", code="model_not_supported")
    service.require_room()
    bounds, limits = service.settings.bounds, service.limits
    body = await read_json(request, bounds)
    if not isinstance(body, Mapping):
        raise ApiProblem(400, "The body must be a JSON object.", code="invalid_json")
    fields = Fields(body)
    model = read_model(fields)
    inputs = read_prompts(fields, limits, "input")
    form = fields.text("encoding_format", 16) or "float"
    if form not in ("float", "base64"):
        fields.wrong("encoding_format", "must be float or base64")
    dimensions = fields.integer("dimensions", 1, _MOST_DIMENSIONS)
    fields.finish(LABELS)
    fields.raise_problems()
    service.require_model(model)
    prompts = [await service.tokenizing.text(each, "input") for each in inputs]
    for prompt in prompts:
        if len(prompt) > limits.max_model_len:
            raise too_long(len(prompt), limits.max_model_len, "input")
    usage = Usage(sum(len(prompt) for prompt in prompts))
    seconds = deadline.seconds_of(request, bounds)
    with service.enter([len(prompt) for prompt in prompts]) as ticket:
        request[USAGE] = usage  # not of what is refused
        try:
            async with deadline.timeout(request, seconds):
                engine = cast(Embedder, service.engine)
                vectors = await engine.embed("embd-" + uuid.uuid4().hex, prompts)
        except TimeoutError:
            if seconds is None:
                raise
            raise deadline.too_long(seconds) from None
        for index in range(len(prompts)):
            ticket.began(index)  # read now, which tells how long others may have to wait
    data = [
        {"object": "embedding", "index": index, "embedding": _shown(_cut(vector, dimensions), form)}
        for index, vector in enumerate(vectors)
    ]
    counted = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens}
    document = {"object": "list", "data": data, "model": model, "usage": counted}
    return web.Response(body=encode(document), content_type="application/json")


def _cut(vector: Sequence[float], dimensions: int | None) -> Sequence[float]:
    """The first `dimensions` of a vector, of length 1 again, as models trained for it mean them."""
    if dimensions is None or dimensions == len(vector):
        return vector
    if dimensions > len(vector):
        raise ApiProblem(
            400,
            f"`dimensions` must be at most {len(vector)}, as this model's vectors have so many.",
            param="dimensions",
            code="invalid_value",
        )
    short = vector[:dimensions]
    length = math.sqrt(sum(each * each for each in short)) or 1.0
    return [each / length for each in short]


def _shown(vector: Sequence[float], form: str) -> Any:
    """A list of numbers, or base64 of 32-bit floats (little endian), as OpenAI's clients ask for."""
    if form == "float":
        return list(vector)
    return base64.b64encode(array.array("f", vector).tobytes()).decode()
