"""Workers that bring the world to what was asked for, key by key, as controller-runtime does.

Level-triggered: an event only says which key to look at. The reconciler reads everything itself, so a key
may be reconciled at any time, twice, or after a restart, and the outcome is the same.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import structlog

from stoker.kube.background import task_group
from stoker.kube.errors import ApiError, ConnectionFailed
from stoker.kube.informer import Informer
from stoker.kube.metrics import LoopMetrics, NoMetrics, Outcome
from stoker.kube.resource import Key, Object, Resource, key_of
from stoker.kube.workqueue import QueueClosed, WorkQueue

log = structlog.get_logger()

# How long keys in work may go on after the stop. Shorter than the 5 s between the moment a leader gives
# its lease up and the moment another may take it (stoker.kube.lease), so that a leader that lost its lease
# and one that was asked to stop can end alike: nothing is written after that.
GRACE_SECONDS = 4.0


@dataclass(frozen=True)
class Result:
    """A reconcile that worked. `requeue_after`: look again in so many seconds; None: at the next change."""

    requeue_after: float | None = None


class Reconciler(Protocol):
    """Makes the world as one key wants it."""

    async def reconcile(self, key: Key) -> Result:
        """Read everything anew and act on it. Never two at once for one key.

        Any exception but TerminalError means: again, later. Where an error and a wish to look again in
        some seconds meet, the error wins: raise, do not return.
        """


class TerminalError(Exception):
    """Only a change by a user can help: logged and counted, not retried."""


class ControlLoop:
    """A queue of keys, what fills it, and the workers that empty it."""

    def __init__(
        self,
        name: str,
        reconciler: Reconciler,
        *,
        workers: int = 1,
        timeout: float = 60.0,
        metrics: LoopMetrics | None = None,
        grace: float = GRACE_SECONDS,
    ) -> None:
        """`timeout`: seconds for one reconcile. `grace`: seconds for keys in work once the loop stops."""
        self.name = name
        self._reconciler = reconciler
        self._workers = workers
        self._timeout = timeout
        self._grace = grace
        self._metrics = metrics or NoMetrics()
        self._informers: list[Informer] = []
        self.queue: WorkQueue[Key] = WorkQueue(name, self._metrics)
        self._metrics.loop_started(name, workers)

    def watch_for(self, informer: Informer) -> None:
        """Changed objects of this kind are the keys themselves."""
        self.watches(informer, lambda obj: [key_of(obj)])

    def owns(self, informer: Informer, owner_kind: str | Resource) -> None:
        """Changes of these objects are work for their controller, where it is of that kind."""
        self.watches(informer, lambda obj: _controllers(obj, owner_kind))

    def watches(self, informer: Informer, map_fn: Callable[[Object], Iterable[Key]]) -> None:
        """Changes of these objects are work for the keys that `map_fn` names.

        The object before and the object after a change are both asked: one that moved from one owner to
        another concerns both.
        """

        def changed(old: Object | None, new: Object | None) -> None:
            keys = {key: None for obj in (old, new) if obj is not None for key in map_fn(obj)}
            for key in keys:
                self.queue.add(key)

        self._informers.append(informer)
        informer.on_change(changed)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work beside the body. At its end, keys in work get `grace`, waiting ones are dropped."""
        async with task_group() as group:
            tasks = [group.create_task(self._work(), name=f"{self.name} {n}") for n in range(self._workers)]
            try:
                yield
            finally:
                self.queue.shut_down()
                synced = all(informer.synced.is_set() for informer in self._informers)
                await asyncio.wait(tasks, timeout=self._grace if synced else 0)
                for task in tasks:
                    task.cancel()

    async def _work(self) -> None:
        """Take keys until the queue closes; first await the caches: half of the world would mislead."""
        for informer in self._informers:
            await informer.synced.wait()
        while True:
            try:
                key = await self.queue.get()
            except QueueClosed:
                return
            try:
                await self._reconcile(key)
            finally:
                self.queue.done(key)

    async def _reconcile(self, key: Key) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        outcome: Outcome = "error"
        self._metrics.reconcile_started(self.name)
        with structlog.contextvars.bound_contextvars(
            controller=self.name, key=str(key), reconcile_id=uuid.uuid4().hex[:8]
        ):
            try:
                outcome = await self._attempt(key)
            finally:
                self._metrics.reconcile_ended(self.name, outcome, clock() - began)

    async def _attempt(self, key: Key) -> Outcome:
        """Reconcile once, and queue the key again as the outcome asks."""
        try:
            async with asyncio.timeout(self._timeout) as limit:
                result = await self._reconciler.reconcile(key)
        except TimeoutError as error:
            return self._failed(key, f"no result after {self._timeout:g} s" if limit.expired() else error)
        except Exception as error:
            return self._failed(key, error)
        self.queue.forget(key)
        if result.requeue_after is None:
            return "success"
        self.queue.add_after(key, result.requeue_after)
        return "requeue_after"

    def _failed(self, key: Key, error: Exception | str) -> Outcome:
        """The one place that decides what an error means for its key."""
        words = str(error) or type(error).__name__
        if isinstance(error, TerminalError):
            log.warning("reconciling cannot succeed until something changes", error=words)
            self.queue.forget(key)
            return "terminal_error"
        failures = self.queue.failures(key) + 1
        pause = error.retry_after if isinstance(error, ApiError) else None
        self.queue.add_rate_limited(key, at_least=pause or 0.0)
        if isinstance(error, ApiError) and error.is_conflict:
            log.info("another writer came first", error=words, failures=failures)
            return "requeue"
        if isinstance(error, ApiError | ConnectionFailed | TimeoutError | str):
            log.error("reconciling failed", error=words, failures=failures)
            return "error"
        log.error("reconciling failed unexpectedly", failures=failures, exc_info=error)
        return "panic"


def _controllers(obj: Object, owner_kind: str | Resource) -> list[Key]:
    """Keys of the owners that control the object, where they are of that kind: one, or none."""
    namespace = obj["metadata"].get("namespace") or ""
    return [
        Key(namespace, owner["name"])
        for owner in obj["metadata"].get("ownerReferences") or []
        if owner.get("controller") and _is_kind(owner, owner_kind)
    ]


def _is_kind(owner: Object, kind: str | Resource) -> bool:
    if isinstance(kind, str):
        return bool(owner["kind"] == kind)
    # The version is left out: an owner reference keeps the one it was written with.
    group = owner["apiVersion"].rpartition("/")[0]
    return bool(owner["kind"] == kind.kind and group == kind.group)
