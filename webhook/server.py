"""The HTTP side of admission: one POST in, one answer out, within a deadline and without asking anybody.

A small review is judged at once, on the loop: the way to a thread and back would take as long as judging it.
Larger ones are judged in a few threads, so that none keeps the loop from answering probes and other reviews.
What is not judged in time is allowed with a warning, for the reasons in `review.py`: the controller judges it
again. No input leads to a 5xx: what is no review gets a 4xx with a Status that says why.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web

from webhook.answers import answer, status
from webhook.metrics import Metrics
from webhook.registration import PATH
from webhook.review import (
    Judgement,
    MalformedReview,
    Object,
    Review,
    Rules,
    judge,
    parse_review,
    unjudged,
)

log = structlog.get_logger()

# Twice the largest object that etcd takes, twice (old and new), and then some.
MAX_BODY = 8 * 1024**2
# The API server waits for `registration.TIMEOUT_SECONDS`; an answer after that is a refusal without words.
DEADLINE_SECONDS = 1.5
# Most reviews have a few KiB; the most that can be wrong within 16 keeps the loop for a fifth of a second
# (`stoker.serving.admission.size`).
_SMALL_BODY = 16 * 1024
_THREADS = 4
_STUCK_SECONDS = 30.0
# Longer than Go's idle connections live (90 s): the API server closes first, and never writes into a
# connection that is being closed here.
_KEEPALIVE_SECONDS = 120.0
_LOOK_SECONDS = 0.1


class Admission:
    """Answers reviews.

    `rules_for(review)` must be quick: it is called on the loop, for each review. `newer_rules` may wait for
    a moment; it is asked before an InferenceService is refused for want of a runtime.
    """

    def __init__(
        self,
        rules_for: Callable[[Review], Rules],
        metrics: Metrics,
        *,
        newer_rules: Callable[[Review, Rules], Awaitable[Rules | None]] | None = None,
        deadline: float = DEADLINE_SECONDS,
        judge: Callable[[Review, Rules], Judgement] = judge,
    ) -> None:
        self._rules_for = rules_for
        self._newer_rules = newer_rules
        self._metrics = metrics
        self._deadline = deadline
        self._judge = judge
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="judge")
        self._started: dict[int, float] = {}  # by task number: what is in a thread now, and since when
        self._count = 0
        self.draining = False
        """Set when no new connection should come: answers then end theirs."""

    def problems(self) -> list[str]:
        """What only a restart cures: threads that a review has held for very long."""
        longest = time.monotonic() - min(self._started.values(), default=time.monotonic())
        return [f"a review has been judged for {longest:.0f} s"] if longest > _STUCK_SECONDS else []

    def close(self) -> None:
        """Let the threads go once they are done with what they judge now."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """The handler of every request: whatever it leads to is an answer below 500."""
        try:
            response = await self._review(request)
        except MalformedReview as fault:
            response = self._refused(fault.status, fault.reason, fault.message)
        except web.HTTPException as fault:
            response = self._refused(fault.status, (fault.reason or "").replace(" ", ""), fault.text or "")
        except Exception as fault:
            # A body that cannot be read (cut off, wrongly compressed), or a bug of ours: neither may
            # look like a server that is worth asking again.
            log.warning("cannot answer a request", reason=f"{type(fault).__name__}: {fault}", exc_info=True)
            response = self._refused(400, "BadRequest", f"the request cannot be read: {type(fault).__name__}")
        if self.draining:
            response.force_close()
        return response

    async def _review(self, request: web.BaseRequest) -> web.Response:
        begun = time.monotonic()
        if request.path != PATH:
            raise MalformedReview(404, "NotFound", f"reviews are answered at {PATH}")
        if request.method != "POST":
            raise MalformedReview(405, "MethodNotAllowed", f"send a POST, not {request.method}")
        if request.content_type != "application/json":
            raise MalformedReview(
                415, "UnsupportedMediaType", f"send application/json, not {request.content_type}"
            )
        if request.headers.get("Content-Encoding", "identity") != "identity":
            # API servers do not compress; whoever does may send 1000 times the bytes that were counted.
            raise MalformedReview(415, "UnsupportedMediaType", "send the body uncompressed")
        review: Review | None = None
        try:
            async with asyncio.timeout(self._deadline):
                body = await request.read()
                run = self._at_once if len(body) <= _SMALL_BODY else self._in_thread
                review = await run(parse_review, body)
                judgement = await self._judged(review, run)
        except TimeoutError as fault:
            if review is None:
                raise MalformedReview(408, "Timeout", "the body did not come in time") from None
            judgement = unjudged(f"it took longer than {self._deadline} s", fault)
        _log(review, judgement)
        self._metrics.answered(review, judgement, time.monotonic() - begun)
        return _json(200, answer(review, judgement))

    async def _judged(self, review: Review, run: Callable[..., Awaitable[Any]]) -> Judgement:
        rules = self._rules_for(review)
        judgement: Judgement = await run(self._judge, review, rules)
        if self._newer_rules and judgement.wants_a_runtime:
            newer = await self._newer_rules(review, rules)
            if newer is not None:
                judgement = await run(self._judge, review, newer)
        return judgement

    def _refused(self, code: int, reason: str, message: str) -> web.Response:
        self._metrics.malformed(code)
        return _json(code, status(code, reason, message))

    @staticmethod
    async def _at_once(work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        self._count += 1
        number = self._count

        def run() -> Any:
            self._started[number] = time.monotonic()
            try:
                return work(*arguments)
            finally:
                del self._started[number]

        return await asyncio.get_running_loop().run_in_executor(self._threads, run)


def make_runner(admission: Admission) -> web.ServerRunner:
    """The server, not listening yet. Call from the loop that is to run it.

    Without aiohttp's applications: their routes and middlewares are a tenth of what a review costs.
    """
    loop = asyncio.get_running_loop()

    def request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY)

    server = web.Server(
        admission.answer,
        request_factory=request,
        handler_cancellation=True,
        keepalive_timeout=_KEEPALIVE_SECONDS,
        auto_decompress=False,
        access_log=None,
    )
    return web.ServerRunner(server, shutdown_timeout=DEADLINE_SECONDS)


@dataclass(frozen=True)
class Leaving:
    """How a server that shall stop does so, in seconds."""

    drain: float = 0.0
    """Go on for at least so long: API servers learn from a watch that this replica is going."""
    linger: float = 0.0
    """After that, how long to wait at most for clients to end the connections that they hold. Over HTTP/1.1 a
    server that closes an idle connection cannot know whether a request is on its way into it, and an API
    server does not repeat a review that is lost so (Go repeats no POST of which a byte was written)."""


@asynccontextmanager
async def serving(
    admission: Admission, host: str | None, port: int, *, tls: ssl.SSLContext, leaving: Leaving
) -> AsyncIterator[tuple[str, int]]:
    """Serve while the body runs; yields where (a loopback address if all are listened on).

    On leaving, each answer ends its connection, and the last connection ends the server.
    """
    runner = make_runner(admission)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        try:
            yield _local_address(runner)
        finally:
            admission.draining = True
            await asyncio.sleep(leaving.drain)
            # Listening all the while: a connection that is being accepted when asyncio stops listening is
            # neither served nor refused, and its client waits in vain.
            await _unconnected(runner, leaving.linger)
    finally:
        await runner.cleanup()
        admission.close()


async def _unconnected(runner: web.ServerRunner, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while runner.server and runner.server.connections:  # noqa: ASYNC110, aiohttp tells nobody
                await asyncio.sleep(_LOOK_SECONDS)


def _local_address(runner: web.ServerRunner) -> tuple[str, int]:
    host, port = runner.addresses[0][:2]
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port


def _json(code: int, document: Object) -> web.Response:
    # ASCII only: a lone surrogate in what a client sent has no UTF-8 form.
    return web.Response(status=code, body=json.dumps(document).encode(), content_type="application/json")


def _log(review: Review, judgement: Judgement) -> None:
    about = {
        "kind": review.kind,
        "namespace": review.namespace,
        "name": review.name,
        "operation": review.operation,
        "uid": review.uid,
    }
    if judgement.fault is not None:
        log.error("allowed without judging", **about, exc_info=judgement.fault)
    elif not judgement.allowed:
        fields = [problem.field for problem in judgement.problems[:20]]
        log.info("refused", **about, dry_run=review.dry_run, fields=fields)
