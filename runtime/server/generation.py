"""POST completions and chat/completions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import structlog
from aiohttp import web

from runtime.engines.base import EngineDead, FinishReason
from runtime.openai.answers import Job, Piece, run
from runtime.openai.chunks import DONE
from runtime.openai.encoding import encode
from runtime.openai.envelope import Heading, Usage
from runtime.openai.problem import ApiProblem, engine_failed
from runtime.openai.prompts import too_long
from runtime.openai.requests import (
    CompletionRequest,
    GenerationRequest,
    parse_chat,
    parse_completion,
)
from runtime.openai.responses import ChatShape, Choice, CompletionShape
from runtime.server.body import read_json
from runtime.server.edge import ABANDONED, BEGAN, FIRST_TOKEN, REQUEST_ID
from runtime.server.service import SERVICE, Service
from runtime.text.tokenizer import PromptError

_COMPLETION_MAX_TOKENS = 16  # OpenAI's default
# Tokenising this many characters takes about a millisecond; more goes to a thread.
_INLINE_CHARACTERS = 4000
_STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}

log = structlog.get_logger()


async def completions(request: web.Request) -> web.StreamResponse:
    """POST /v1/completions."""
    service = request.app[SERVICE]
    service.require_open()
    service.require_room()
    asked = parse_completion(await read_json(request), service.limits)
    service.require_model(asked.model)
    prompts = [await _tokens(service, prompt) for prompt in asked.prompts]
    heading = Heading.completion(asked.model)
    shape = CompletionShape(heading, service.facts.tokenizer, logprobs=asked.sampling.get("logprobs"))
    echoes = _echoes(service, asked, prompts) if asked.echo else []
    answer = _Answer(request, asked, shape, prompts=prompts, echoes=echoes)
    return await answer.respond(default_max_tokens=_COMPLETION_MAX_TOKENS, param="prompt")


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """POST /v1/chat/completions."""
    service = request.app[SERVICE]
    service.require_open()
    service.require_room()
    asked = parse_chat(await read_json(request), service.limits)
    service.require_model(asked.model)
    tokenizer = service.facts.tokenizer
    size = sum(len(message["content"]) for message in asked.messages)
    tools = asked.offer.documents if asked.offer is not None else ()
    try:
        if size > _INLINE_CHARACTERS or tools:
            prompt = await asyncio.to_thread(tokenizer.encode_chat, asked.messages, tools)
        else:
            prompt = tokenizer.encode_chat(asked.messages)
    except PromptError as error:
        raise ApiProblem(400, str(error), param="messages", code="invalid_value") from error
    heading = Heading.chat(asked.model)
    logprobs = asked.sampling.get("logprobs")
    shape = ChatShape(heading, tokenizer, logprobs=logprobs, offer=asked.offer)
    answer = _Answer(request, asked, shape, prompts=[prompt])
    return await answer.respond(default_max_tokens=None, param="messages")


async def _tokens(service: Service, prompt: str | tuple[int, ...]) -> Sequence[int]:
    if isinstance(prompt, tuple):
        return prompt
    tokenizer = service.facts.tokenizer
    if len(prompt) > _INLINE_CHARACTERS:
        tokens = await asyncio.to_thread(tokenizer.encode, prompt)
    else:
        tokens = tokenizer.encode(prompt)
    if not tokens:
        raise ApiProblem(400, "`prompt` is empty.", param="prompt", code="invalid_value")
    return tokens


def _echoes(service: Service, asked: CompletionRequest, prompts: Sequence[Sequence[int]]) -> list[str]:
    """The text that stands before each choice."""
    texts = [
        prompt if isinstance(prompt, str) else service.facts.tokenizer.decode(tokens)
        for prompt, tokens in zip(asked.prompts, prompts, strict=True)
    ]
    return [text for text in texts for _ in range(asked.n)]


class _Answer:
    """One request's answer: the jobs, whole or streamed."""

    def __init__(
        self,
        request: web.Request,
        asked: GenerationRequest,
        shape: CompletionShape | ChatShape,
        *,
        prompts: Sequence[Sequence[int]],
        echoes: Sequence[str] = (),
    ) -> None:
        self._request = request
        self._service = request.app[SERVICE]
        self._asked = asked
        self._shape = shape
        self._prompts = prompts
        self._echoes = echoes

    async def respond(self, *, default_max_tokens: int | None, param: str) -> web.StreamResponse:
        """Runs the jobs and answers."""
        jobs = self._jobs(default_max_tokens, param)
        usage = Usage(sum(len(prompt) for prompt in self._prompts))
        if not jobs:
            return await self._without_engine(usage)
        with self._service.admission.enter(len(jobs)):
            pieces = run(self._service.engine, jobs, self._service.meter)
            async with aclosing(pieces):
                if self._asked.stream:
                    return await self._stream(pieces, len(jobs), usage)
                return await self._whole(pieces, len(jobs), usage)

    def _jobs(self, default_max_tokens: int | None, param: str) -> list[Job]:
        limit = self._service.limits.max_model_len
        jobs: list[Job] = []
        for prompt in self._prompts:
            room = limit - len(prompt)
            asked = self._asked.max_tokens
            if room < 1 or (asked is not None and asked > room):
                raise too_long(len(prompt), limit, param, asked or 0)
            if asked == 0:  # only the echo
                continue
            max_tokens = asked if asked is not None else min(room, default_max_tokens or room)
            for choice in range(self._asked.n):
                index = len(jobs)
                sampling = self._asked.sampling_for(max_tokens, choice)
                jobs.append(Job(index, f"{self._shape.heading.id}-{index}", prompt, sampling))
        return jobs

    async def _without_engine(self, usage: Usage) -> web.StreamResponse:
        """An echo of prompts and nothing else (`max_tokens` 0)."""

        async def nothing() -> AsyncGenerator[Piece, None]:
            for index in range(len(self._echoes)):
                yield Piece(index, "", 0, FinishReason.LENGTH, ())

        async with aclosing(nothing()) as pieces:
            if self._asked.stream:
                return await self._stream(pieces, len(self._echoes), usage)
            return await self._whole(pieces, len(self._echoes), usage)

    async def _whole(
        self, pieces: AsyncGenerator[Piece, None], count: int, usage: Usage
    ) -> web.StreamResponse:
        choices = [Choice([echo]) for echo in self._echoes] or [Choice() for _ in range(count)]
        async for piece in pieces:
            self._first_token()
            usage.completion_tokens += piece.tokens
            choices[piece.index].add(piece)
        body = encode(self._shape.whole(choices, usage))
        return web.Response(body=body, content_type="application/json")

    async def _stream(
        self, pieces: AsyncGenerator[Piece, None], count: int, usage: Usage
    ) -> web.StreamResponse:
        first = await anext(pieces)  # what goes wrong until here is still an ordinary error
        self._first_token()
        response = web.StreamResponse(headers=_STREAM_HEADERS)
        await response.prepare(self._request)
        chunks = self._shape.stream(count, include_usage=self._asked.include_usage)
        openings = [chunks.opening(n, self._echoes[n] if self._echoes else "") for n in range(count)]
        try:
            usage.completion_tokens += first.tokens
            await self._write(response, b"".join(openings) + chunks.piece(first))
            async for piece in pieces:
                usage.completion_tokens += piece.tokens
                data = chunks.piece(piece)
                if data:
                    await self._write(response, data)
            await self._write(response, chunks.usage(usage) + DONE)
        except ConnectionError:
            self._request[ABANDONED] = True
            return response
        except asyncio.CancelledError:
            problem = self._service.in_flight.cut_short()
            if problem is None:
                raise
            await self._fail(response, problem)
        except EngineDead:
            await self._fail(response, engine_failed())
        except Exception:
            log.exception("stream failed", request_id=self._request[REQUEST_ID])
            await self._fail(response, ApiProblem(500, "Internal error.", code="internal_error"))
        await response.write_eof()
        return response

    async def _fail(self, response: web.StreamResponse, problem: ApiProblem) -> None:
        """Once a stream has begun, an error is an event of its own, then the end."""
        await self._write(response, b"data: " + encode(problem.document()) + b"\n\n" + DONE)

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        """Writes within the deadline; a reader that stalls is cut off, so that its work is freed."""
        seconds = self._service.settings.bounds.write_timeout_seconds
        try:
            async with asyncio.timeout(seconds or None):
                await response.write(data)
        except TimeoutError:
            log.warning("reader stalled", request_id=self._request[REQUEST_ID], seconds=seconds)
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionResetError("the reader stalled") from None

    def _first_token(self) -> None:
        if FIRST_TOKEN not in self._request:
            self._request[FIRST_TOKEN] = time.monotonic() - self._request[BEGAN]
