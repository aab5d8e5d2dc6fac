"""One request's answer: sequences run, whole or streamed, within its deadlines, freed on every way out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from aiohttp import web

from runtime.engines.base import FinishReason, Timed
from runtime.openai.answers import Job, Piece, Sink, run
from runtime.openai.chunks import DONE, Chunks
from runtime.openai.encoding import encode
from runtime.openai.envelope import Usage
from runtime.openai.problem import ApiProblem
from runtime.openai.prompts import too_long as prompt_too_long
from runtime.openai.requests import GenerationRequest
from runtime.openai.responses import ChatShape, Choice, CompletionShape
from runtime.server import deadline
from runtime.server.admission import Ticket
from runtime.server.edge import ABANDONED, BEGAN, FIRST_TOKEN, REQUEST_ID, TRACE, USAGE, problem_of
from runtime.server.outlet import Outlet
from runtime.server.service import SERVICE
from runtime.server.stream import EventStream

Generate = Callable[[Sink], Coroutine[Any, Any, None]]


class Answer:
    """Runs and writes one answer."""

    def __init__(
        self,
        request: web.Request,
        asked: GenerationRequest,
        shape: CompletionShape | ChatShape,
        *,
        prompts: Sequence[Sequence[int]],
        echoes: Sequence[str] = (),
    ) -> None:
        """`prompts`: each prompt's tokens. `echoes`: the text before each choice, where it is wanted."""
        self._request = request
        self._service = request.app[SERVICE]
        self._bounds = self._service.settings.bounds
        self._seconds = deadline.seconds_of(request, self._bounds)
        self._asked = asked
        self._shape = shape
        self._prompts = prompts
        self._echoes = echoes
        self._ticket: Ticket | None = None
        self._usage = Usage(sum(len(prompt) for prompt in prompts))

    async def respond(self, *, default_max_tokens: int | None, param: str) -> web.StreamResponse:
        """Runs the jobs and answers."""
        jobs = self._jobs(default_max_tokens, param)
        if not jobs:
            self._request[USAGE] = self._usage
            return await self._written(self._nothing_more, len(self._prompts) * self._asked.n)
        with self._service.enter([len(job.prompt) for job in jobs]) as self._ticket:
            self._request[USAGE] = self._usage  # not of what is refused
            return await self._written(lambda sink: self._generate(jobs, sink), len(jobs))

    def _jobs(self, default_max_tokens: int | None, param: str) -> list[Job]:
        limit, most = self._service.limits.max_model_len, self._bounds.max_output_tokens
        asked, scores = self._asked.max_tokens, self._asked.scores
        if asked is not None and most is not None and asked > most:
            name = "max_completion_tokens" if param == "messages" else "max_tokens"
            raise ApiProblem(400, f"`{name}` must be at most {most}.", param=name, code="invalid_value")
        jobs: list[Job] = []
        for prompt in self._prompts:
            room = limit - len(prompt)
            if room < 1 or (asked is not None and asked > room):
                raise prompt_too_long(len(prompt), limit, param, asked or 0)
            if asked == 0 and not scores:  # the echo, or nothing at all
                continue
            max_tokens = asked if asked is not None else min(room, default_max_tokens or room, most or room)
            if self._asked.sampling.get("min_tokens", 0) > max_tokens:
                message = f"`min_tokens` must be at most {max_tokens}: the answer may have no more tokens."
                raise ApiProblem(400, message, param="min_tokens", code="invalid_value")
            for choice in range(self._asked.n):
                index = len(jobs)
                sampling = self._asked.sampling_for(max_tokens, choice)
                echo = self._echoes[index] if self._echoes else ""
                jobs.append(Job(index, f"{self._shape.heading.id}-{index}", prompt, sampling, echo))
        return jobs

    async def _nothing_more(self, sink: Sink) -> None:
        """What there is without generating anything (`max_tokens` 0)."""
        for index in range(len(self._prompts) * self._asked.n):
            echo = self._echoes[index] if self._echoes else ""
            sink(Piece(index, echo, 0, FinishReason.LENGTH, ()))

    async def _generate(self, jobs: Sequence[Job], sink: Sink) -> None:
        """Runs the engine; no sequence waits for its first piece beyond the queue's deadline."""
        usage, ticket, request = self._usage, self._ticket, self._request
        scores = self._asked.scores  # of a prompt are kept until the answer is written
        began = False
        submitted = time.monotonic()

        def count(piece: Piece) -> None:
            nonlocal began
            if not began:
                began = True
                self._trace_stages(submitted, jobs[piece.index].request_id)
                request[FIRST_TOKEN] = time.monotonic() - request[BEGAN]
            queue.came(piece.index, last=piece.finish_reason is not None)
            usage.completion_tokens += piece.tokens
            if ticket is not None and ticket.waiting and not scores:
                ticket.began(piece.index)
            sink(piece)

        async with deadline.Queue(len(jobs), self._service) as queue:
            await run(self._service.engine, jobs, self._service.meter, count)

    def _trace_stages(self, submitted: float, request_id: str) -> None:
        """What came before the answer's first token: the engine's queue, then the prompt (prefill)."""
        engine, trace = self._service.engine, self._request[TRACE]
        left = engine.began(request_id) if trace.id and isinstance(engine, Timed) else None
        if left is not None:
            trace.stage("queue", submitted, max(submitted, left))
            trace.stage("prefill", max(submitted, left), time.monotonic())

    async def _written(self, generate: Generate, count: int) -> web.StreamResponse:
        if self._asked.stream:
            with EventStream(self._request, self._bounds, self._request[REQUEST_ID]) as stream:
                return await self._stream(generate, count, stream)
        choices = [Choice() for _ in range(count)]
        try:
            async with deadline.timeout(self._request, self._seconds) as whole:
                await generate(lambda piece: choices[piece.index].add(piece))
        except TimeoutError:
            if self._seconds is None or not whole.expired():
                raise
            raise deadline.too_long(self._seconds) from None
        body = encode(self._shape.whole(choices, self._usage))
        return web.Response(body=body, content_type="application/json")

    async def _stream(self, generate: Generate, count: int, stream: EventStream) -> web.StreamResponse:
        chunks = self._shape.stream(count, include_usage=self._asked.include_usage)
        openings = [chunks.opening(n) for n in range(count)]
        outlet = Outlet(stream, chunks, self._service.holding, count, opening=b"".join(openings))
        running = asyncio.create_task(generate(outlet.take))
        try:
            last = await self._flow(outlet, running, stream, chunks)
            # Not within the request's time: the answer is complete, and a reader has its own bound.
            await stream.end(last + DONE)
        except ConnectionError:
            self._request[ABANDONED] = True
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return stream.response

    async def _flow(
        self, outlet: Outlet, running: asyncio.Task[None], stream: EventStream, chunks: Chunks
    ) -> bytes:
        """Writes the answer but for its end, which it gives: with what says why, where there was an error."""
        try:
            async with deadline.timeout(self._request, self._seconds):
                await outlet.flow(running)
            return outlet.rest() + chunks.usage(self._usage)
        except ConnectionError:
            raise
        except asyncio.CancelledError:
            problem = self._service.in_flight.cut_short()
            if problem is None:
                raise
            event = self._failure(stream, problem)
        except Exception as error:
            event = self._failure(stream, error)
        running.cancel()  # however slowly that is read
        return outlet.rest() + event

    def _failure(self, stream: EventStream, error: Exception) -> bytes:
        """An error as an event; raises it while nothing was sent, so that it is an ordinary one."""
        if isinstance(error, TimeoutError) and self._seconds is not None:
            error = deadline.too_long(self._seconds)
        if not stream.started:
            raise error
        problem = problem_of(self._request, error, self._service)
        return b"data: " + encode(problem.document()) + b"\n\n"
