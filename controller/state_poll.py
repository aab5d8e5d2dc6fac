"""The pods' state documents: GET http://POD:8080/stoker/v1/state, asked for while a pod becomes ready.

A document says what the kubelet cannot know: that weights are being loaded, or why a model cannot be. Whether
a pod is ready is the kubelet's word alone; a pod that cannot be asked is unknown, never unready.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import structlog

from controller.metrics import Metrics
from stoker.kube.background import task_group
from stoker.kube.informer import Informer
from stoker.kube.resource import Object
from stoker.serving.status.pods import answering, is_ready, is_terminating

log = structlog.get_logger()

PORT = 8080
PATH = "/stoker/v1/state"
_AT_ONCE = 16
_SECONDS = 2.0  # for one answer
_LARGEST = 64 * 1024
_FIRST_ROUND_SECONDS = 5.0
_LATE_ANSWERS = 5  # of a ready pod on a busy node, until its document is given up
_ROUNDS_LEFT_ALONE = 5  # a server without such a page (an image of the user's own), or a pod out of reach


class StatePoll:
    """Asks pods that run and are not ready, each `interval` seconds, and when readiness changes."""

    def __init__(
        self,
        pods: Informer,
        metrics: Metrics,
        *,
        interval: float = 2.0,
        changed: Callable[[Object], None] = lambda pod: None,
        url: Callable[[str], str] = lambda ip: f"http://{ip}:{PORT}{PATH}",
    ) -> None:
        """`changed(pod)` is called when a pod's document says something else than before."""
        self._pods = pods
        self._metrics = metrics
        self._interval = interval
        self._changed = changed
        self._url = url
        self._documents: dict[str, Object] = {}  # by pod uid; {}: its server has none
        self._answering: dict[str, str] = {}  # which container the document is of
        self._due: set[str] = set()  # readiness changed since the last answer
        self._skip: dict[str, int] = {}
        self._late: dict[str, int] = {}  # how often a ready pod did not answer in time
        self._wake = asyncio.Event()
        self._limit = asyncio.Semaphore(_AT_ONCE)
        pods.on_change(self._observe)

    def document(self, pod: Object) -> Object | None:
        """The pod's document as last seen; {} where a ready pod's server has none; None where unknown."""
        return self._documents.get(pod["metadata"]["uid"])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Poll beside the body. It starts after one round, so that a restart knows what was known before."""
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        connector = aiohttp.TCPConnector(limit=_AT_ONCE, force_close=True)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector, trust_env=False) as session,
            task_group() as group,
        ):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_ROUND_SECONDS):
                    await self._round(session)
            task = group.create_task(self._poll(session), name="state poll")
            try:
                yield
            finally:
                task.cancel()

    async def _poll(self, session: aiohttp.ClientSession) -> None:
        """A round every interval; in between, at once, those whose readiness changed."""
        clock = asyncio.get_running_loop().time
        next_round = clock() + self._interval
        while True:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_round):
                    await self._wake.wait()
            if clock() >= next_round:
                next_round = clock() + self._interval
                await self._round(session)
            else:
                await self._round(session, only=self._due)

    async def _round(self, session: aiohttp.ClientSession, only: Collection[str] | None = None) -> None:
        pods = [pod for pod in self._pods.list() if only is None or pod["metadata"]["uid"] in only]
        asked = [self._ask(session, pod) for pod in pods if self._wanted(pod)]
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("asking a pod for its state failed unexpectedly", exc_info=outcome)

    def _wanted(self, pod: Object) -> bool:
        uid = pod["metadata"]["uid"]
        if is_terminating(pod) or not _ip(pod) or answering(pod) is None:
            return False
        if uid in self._due:
            return True
        if is_ready(pod) and not 0 < self._late.get(uid, 0) < _LATE_ANSWERS:
            return False
        self._skip[uid] = self._skip.get(uid, 0) - 1
        return self._skip[uid] < 0

    async def _ask(self, session: aiohttp.ClientSession, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        self._due.discard(uid)
        document = None
        async with self._limit:
            try:
                async with session.get(self._url(_ip(pod)), allow_redirects=False) as reply:
                    if reply.status == 200:
                        document = _parse(await reply.content.read(_LARGEST))
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                # Refused is what a server says that is about to listen; silence is a way that is barred.
                self._skip[uid] = _ROUNDS_LEFT_ALONE if isinstance(error, TimeoutError) else 0
                self._metrics.polled("unreachable")
                if is_ready(pod) and isinstance(error, TimeoutError):
                    self._late[uid] = self._late.get(uid, 0) + 1
                elif is_ready(pod):
                    self._learn(pod, {})  # a server of somebody else's, on another port
                return
        self._late.pop(uid, None)
        self._metrics.polled("unsupported" if document is None else "answered")
        self._skip[uid] = _ROUNDS_LEFT_ALONE if document is None else 0
        if document is not None or is_ready(pod):
            self._learn(pod, document or {})

    def _learn(self, pod: Object, document: Object) -> None:
        uid = pod["metadata"]["uid"]
        if document != self._documents.get(uid) and (document or uid not in self._documents):
            self._documents[uid] = document
            self._changed(pod)

    def _observe(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self._forget((old or {})["metadata"]["uid"])
            return
        uid, who = new["metadata"]["uid"], answering(new)
        before = self._answering.get(uid)
        if who is None or before not in (None, who):
            self._forget(uid)  # it told of a process that is no more
        if who is None:
            return
        self._answering[uid] = who
        if not is_ready(new) if old is None else is_ready(old) != is_ready(new) or before != who:
            self._due.add(uid)
            self._wake.set()

    def _forget(self, uid: str) -> None:
        self._documents.pop(uid, None)
        self._answering.pop(uid, None)
        self._skip.pop(uid, None)
        self._late.pop(uid, None)
        self._due.discard(uid)


def _ip(pod: Object) -> str:
    ip = str((pod.get("status") or {}).get("podIP") or "")
    return f"[{ip}]" if ":" in ip else ip


def _parse(body: bytes) -> Object | None:
    try:
        document: Any = json.loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) and isinstance(document.get("phase"), str) else None
