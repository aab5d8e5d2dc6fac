"""Events of pods that do not come up: what the kubelet says there and nowhere else.

An informer of the cluster's events would hold what every failing pod of every team says; this asks for the
events of one pod, by its uid, and only while that pod waits for its containers or was restarted: first after
some seconds, then less and less often. A pod that becomes ready in the usual time costs no request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from stoker.kube.background import task_group
from stoker.kube.errors import ApiError, ConnectionFailed
from stoker.kube.informer import Informer
from stoker.kube.resource import Object, Resource
from stoker.kube.verbs import Client
from stoker.serving.status.pod_events import Said, has_sandbox, read_events
from stoker.serving.status.pods import is_ready, is_terminating
from stoker.serving.status.times import seconds
from stoker.serving.status.trouble import condition, has_ended

log = structlog.get_logger()

EVENTS = Resource(
    "", "v1", "events", "Event"
)  # core/v1: its selectors know the uid of what an event is about
_PATIENCE = 5.0  # seconds in which an ordinary pod has its containers, and an event follows its cause
_LONGEST = 60.0
_AT_ONCE = 8
_FIRST_ROUND_SECONDS = 5.0


@dataclass
class _Asked:
    """What was learnt of one pod, and when to ask again."""

    said: tuple[Said, ...]
    restarts: int
    due: float  # monotonic seconds
    wait: float


class EventLookup:
    """Asks the API server for the events of pods that do not come up."""

    def __init__(
        self,
        client: Client,
        pods: Informer,
        *,
        changed: Callable[[Object], None],
        knows: Callable[[Object], bool] = lambda pod: False,
        patience: float = _PATIENCE,
        interval: float = 1.0,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Times are seconds. `changed(pod)` is called when a pod's events say something else than before.

        `knows(pod)`: whether the pod itself tells what it does, so that nobody else need be asked.
        """
        self._client = client
        self._pods = pods
        self._changed = changed
        self._knows = knows
        self._patience = patience
        self._interval = interval
        self._wall = wall
        self._asked: dict[str, _Asked] = {}  # by pod uid
        self._limit = asyncio.Semaphore(_AT_ONCE)

    def said(self, pod: Object) -> Sequence[Said]:
        """What the pod's events said when they were asked last."""
        asked = self._asked.get(pod["metadata"]["uid"])
        return asked.said if asked is not None else ()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ask beside the body. It starts after one round, so that a restart knows what was known before."""
        async with task_group() as group:
            try:
                async with asyncio.timeout(_FIRST_ROUND_SECONDS):
                    await self._round()
            except TimeoutError:
                log.warning("events of pods are not known yet")
            task = group.create_task(self._rounds(), name="event lookup")
            try:
                yield
            finally:
                task.cancel()

    async def _rounds(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self._round()

    async def _round(self) -> None:
        now = asyncio.get_running_loop().time()
        pods = [pod for pod in self._pods.list() if self._suspicious(pod)]
        for uid in self._asked.keys() - {pod["metadata"]["uid"] for pod in pods}:
            del self._asked[uid]
        due = [pod for pod in pods if self._is_due(pod, now)]
        for outcome in await asyncio.gather(*map(self._ask, due), return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("asking for a pod's events failed unexpectedly", exc_info=outcome)

    def _suspicious(self, pod: Object) -> bool:
        """Whether events may hold what the status does not: it waits for too long, or was restarted."""
        placed = condition(pod, "PodScheduled")
        if placed is None or placed.get("status") != "True":
            return False
        if is_ready(pod) or is_terminating(pod) or has_ended(pod):
            return False
        if _restarts(pod):
            return True
        waited = self._wall() - seconds(placed.get("lastTransitionTime"))
        return waited >= self._patience and not (has_sandbox(pod) and self._knows(pod))

    def _is_due(self, pod: Object, now: float) -> bool:
        asked = self._asked.get(pod["metadata"]["uid"])
        return asked is None or now >= asked.due or _restarts(pod) != asked.restarts

    async def _ask(self, pod: Object) -> None:
        metadata, restarts = pod["metadata"], _restarts(pod)
        before = self._asked.get(metadata["uid"])
        known = before.said if before is not None else ()
        again = before is not None and before.restarts == restarts
        wait = min(_LONGEST, before.wait * 2) if before is not None and again else self._patience
        said = known
        async with self._limit:
            try:
                listed = await self._client.list(
                    EVENTS,
                    namespace=metadata["namespace"],
                    field_selector=f"involvedObject.uid={metadata['uid']}",
                )
            except (ApiError, ConnectionFailed) as error:
                log.info("a pod's events cannot be read", pod=metadata["name"], error=str(error))
            else:
                said = read_events(pod, listed.items)
        due = asyncio.get_running_loop().time() + wait
        self._asked[metadata["uid"]] = _Asked(said, restarts, due, wait)
        if said != known:
            self._changed(pod)


def _restarts(pod: Object) -> int:
    """Of all its containers; an ended run that was not started again yet counts as one."""
    status = pod.get("status") or {}
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return sum(int(each.get("restartCount") or 0) for each in statuses) + sum(
        bool(((each.get("state") or {}).get("terminated") or {}).get("exitCode")) for each in statuses
    )
