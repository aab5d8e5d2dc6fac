"""POST completions and chat/completions."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from runtime.openai.envelope import Heading
from runtime.openai.requests import CompletionRequest, parse_chat, parse_completion
from runtime.openai.responses import ChatShape, CompletionShape
from runtime.server.answer import Answer
from runtime.server.body import read_json
from runtime.server.service import SERVICE, Service

_COMPLETION_MAX_TOKENS = 16  # OpenAI's default


async def completions(request: web.Request) -> web.StreamResponse:
    """POST /v1/completions."""
    service = request.app[SERVICE]
    service.require_generation()
    service.require_room()
    asked = parse_completion(await read_json(request, service.settings.bounds), service.limits)
    service.require_model(asked.model)
    prompts = [await service.tokenizing.text(prompt, "prompt") for prompt in asked.prompts]
    asked.require_bound(prompts, service.limits)
    heading = Heading.completion(asked.model)
    shape = CompletionShape(heading, service.facts.tokenizer, logprobs=asked.sampling.get("logprobs"))
    echoes = _echoes(service, asked, prompts) if asked.echo else []
    answer = Answer(request, asked, shape, prompts=prompts, echoes=echoes)
    return await answer.respond(default_max_tokens=_COMPLETION_MAX_TOKENS, param="prompt")


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """POST /v1/chat/completions."""
    service = request.app[SERVICE]
    service.require_generation()
    service.require_room()
    asked = parse_chat(await read_json(request, service.settings.bounds), service.limits)
    service.require_model(asked.model)
    tools = asked.offer.documents if asked.offer is not None else ()
    prompt = await service.tokenizing.chat(asked.messages, tools)
    logprobs = asked.sampling.get("logprobs")
    heading = Heading.chat(asked.model)
    shape = ChatShape(heading, service.facts.tokenizer, logprobs=logprobs, offer=asked.offer)
    answer = Answer(request, asked, shape, prompts=[prompt])
    return await answer.respond(default_max_tokens=None, param="messages")


def _echoes(service: Service, asked: CompletionRequest, prompts: Sequence[Sequence[int]]) -> list[str]:
    """The text that stands before each choice."""
    texts = [
        prompt if isinstance(prompt, str) else service.facts.tokenizer.decode(tokens)
        for prompt, tokens in zip(asked.prompts, prompts, strict=True)
    ]
    return [text for text in texts for _ in range(asked.n)]
