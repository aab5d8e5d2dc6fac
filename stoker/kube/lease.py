"""One leader among replicas, by a coordination.k8s.io Lease.

Time is the event loop's monotonic clock alone: the times written in the Lease are for people. A replica
counts from the moment it saw the record change, as client-go does, so clocks need not agree.

The leader counts from *before* it sent the last renewal that succeeded, and gives up `renew_deadline`
seconds later; the others count from after the server stored it and wait `duration` seconds. The difference
(5 s) is what the leader has to finish its writes in. Whatever hangs, hangs in a call with a shorter timeout.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from stoker.kube.background import task_group
from stoker.kube.errors import ApiError
from stoker.kube.resource import LEASES, Key, Object
from stoker.kube.verbs import Client

log = structlog.get_logger()

_RELEASE_SECONDS = 2.0
_A_MOMENT = 0.001  # less time than that is none: sleeping it may take no time at all


class LeaderLost(Exception):
    """The lease could not be renewed in time. Stop writing: another may lead soon."""


@dataclass(frozen=True)
class LeaseConfig:
    """Which Lease, for whom, and how long things take (seconds; client-go's defaults)."""

    namespace: str
    name: str
    identity: str
    """Unique to this process, also across its restarts: pod name and a random part."""
    duration: float = 15.0
    """Others may take the Lease that long after its last renewal."""
    renew_deadline: float = 10.0
    """The leader gives up that long after its last successful renewal."""
    retry_period: float = 2.0
    """Between attempts to take or renew it."""

    def __post_init__(self) -> None:
        if not 0 < self.retry_period < self.renew_deadline < self.duration:
            raise ValueError("retry_period < renew_deadline < duration is what keeps two from leading")
        if not self.identity:
            raise ValueError("an empty identity means that nobody holds the Lease")

    @property
    def call_timeout(self) -> float:
        """For one call; two of them fit into the deadline."""
        return self.renew_deadline / 2


class LeaderLease:
    """The Lease as one candidate sees it."""

    def __init__(self, client: Client, config: LeaseConfig) -> None:
        self._client = client
        self._config = config
        self._key = Key(config.namespace, config.name)
        self._record: Object | None = None  # the Lease as last seen
        self._seen_at = 0.0  # when it last changed
        self._renewed_at: float | None = None  # when our last successful renewal was begun

    @property
    def is_held(self) -> bool:
        """Whether this candidate leads at this moment."""
        return self._renewed_at is not None and _now() < self._renewed_at + self._config.renew_deadline

    def check(self) -> None:
        """Raise LeaderLost unless the lease is held at this moment: a fence for `Client.fenced`."""
        if not self.is_held:
            raise LeaderLost(f"the lease {self._key} is not held by {self._config.identity}")

    @asynccontextmanager
    async def held(self) -> AsyncIterator[LeaderLease]:
        """Wait to be elected, run the body as leader, give the Lease back after it.

        When the lease is lost the body is cancelled and LeaderLost raised; it is not given back then,
        being no longer ours to give.
        """
        await self._acquire()
        log.info("leading", lease=str(self._key), identity=self._config.identity)
        try:
            async with task_group() as group:
                task = group.create_task(self._keep(), name="lease")
                try:
                    yield self
                finally:
                    task.cancel()
        finally:
            await self._release()

    async def _acquire(self) -> None:
        waiting_for = None
        while not await self._attempt(self._config.call_timeout):
            holder = _holder(self._record)
            if holder != waiting_for:
                log.info("waiting for the lease", lease=str(self._key), holder=holder)
                waiting_for = holder
            # Spread, so that candidates do not meet at each round.
            await asyncio.sleep(self._config.retry_period * random.uniform(1.0, 1.2))  # noqa: S311

    async def _keep(self) -> None:
        """Renew until the Lease is seen to be another's, or cannot be renewed in time."""
        while self._left() > _A_MOMENT and _holder(self._record) == self._config.identity:
            await asyncio.sleep(min(self._config.retry_period, self._left()))
            await self._attempt(min(self._config.call_timeout, self._left()))
        self._renewed_at = None
        raise LeaderLost(
            f"the lease {self._key} was not renewed in time; holder: {_holder(self._record) or 'none'}"
        )

    def _left(self) -> float:
        """Seconds until the leader must give up."""
        return max(0.0, (self._renewed_at or 0.0) + self._config.renew_deadline - _now())

    async def _attempt(self, timeout: float) -> bool:
        """Take or renew the Lease once. Any failure whatever is a failed attempt."""
        try:
            async with asyncio.timeout(timeout):
                return await self._take_or_renew()
        except Exception as error:
            log.warning("the lease could not be taken or renewed", lease=str(self._key), error=_words(error))
            return False

    async def _take_or_renew(self) -> bool:
        if not self.is_held:
            await self._look()
        if not self._may_take():
            return False
        try:
            await self._write(self._config.identity)
        except ApiError as error:
            if not (error.is_conflict or error.is_not_found):
                raise
            # Another took it, or somebody removed it, or we wrote it and the reply was lost.
            await self._look()
            if _holder(self._record) != self._config.identity:
                return False
            await self._write(self._config.identity)
        return True

    def _may_take(self) -> bool:
        holder = _holder(self._record)
        if holder in {"", self._config.identity} or self._record is None:
            return True
        promised = self._record["spec"].get("leaseDurationSeconds") or self._config.duration
        return _now() >= self._seen_at + float(promised)

    async def _look(self) -> None:
        try:
            record: Object | None = await self._client.get(LEASES, self._key)
        except ApiError as error:
            if not error.is_not_found:
                raise
            record = None
        if _version(record) != _version(self._record):
            self._seen_at = _now()
        self._record = record

    async def _write(self, holder: str) -> None:
        """Store the record; that it is still the one last seen is the precondition."""
        began = _now()
        if self._record is None:
            spec = self._spec(holder, {})
            metadata = {"namespace": self._key.namespace, "name": self._key.name}
            lease = {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": metadata,
                "spec": spec,
            }
            self._record = await self._client.create(LEASES, lease)
        else:
            spec = self._spec(holder, self._record.get("spec") or {})
            self._record = await self._client.replace(LEASES, {**self._record, "spec": spec})
        self._seen_at = _now()
        self._renewed_at = began if holder else None

    def _spec(self, holder: str, before: Object) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {**before, "renewTime": now, "holderIdentity": holder}
        # As client-go releases: nobody waits for a duration that nobody counts.
        spec["leaseDurationSeconds"] = math.ceil(self._config.duration) if holder else 1
        if holder and before.get("holderIdentity") != holder:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = (before.get("leaseTransitions") or 0) + (1 if before else 0)
        return spec

    async def _release(self) -> None:
        """Give the Lease back, so that the next leader need not wait for it to run out."""
        if not self.is_held:
            return
        try:
            async with asyncio.timeout(min(_RELEASE_SECONDS, self._left())):
                await self._look()  # a renewal may have been cut off after the server stored it
                if _holder(self._record) == self._config.identity:
                    await self._write("")
            log.info("gave the lease back", lease=str(self._key))
        except Exception as error:
            log.warning("the lease could not be given back", lease=str(self._key), error=_words(error))
        finally:
            self._renewed_at = None


def _holder(record: Object | None) -> str:
    """Who holds it; "" for nobody."""
    return ((record or {}).get("spec") or {}).get("holderIdentity") or ""


def _version(record: Object | None) -> str | None:
    return record["metadata"].get("resourceVersion") if record else None


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__  # a TimeoutError has no words of its own


def _now() -> float:
    return asyncio.get_running_loop().time()
