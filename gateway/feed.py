"""From changes in the cluster to snapshots: many changes, one snapshot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from gateway.metrics import GatewayMetrics
from gateway.snapshot import Options, Snapshot, build
from stoker.kube.resource import Object

log = structlog.get_logger()

# Changes come in bursts (a pod's status is written several times while it starts): wait this long for the
# rest. A pod that ends keeps serving for 10 s, so nothing is lost by it.
SETTLE_SECONDS = 0.02
# With thousands of pods one snapshot takes longer to make than that: leave four fifths of the time to others.
_REST = 4.0


class Source(Protocol):
    """A live copy of one kind of object: an Informer."""

    synced: asyncio.Event

    def list(self) -> Iterable[Object]:
        """Everything that is known now."""
        ...

    def on_change(self, fn: Callable[[Object | None, Object | None], None]) -> None:
        """Call `fn` for every change."""
        ...


class Feed:
    """Publishes a snapshot whenever the sources differ from what was published."""

    def __init__(
        self,
        inference_services: Source,
        pods: Source,
        options: Options,
        publish: Callable[[Snapshot], None],
        metrics: GatewayMetrics,
    ) -> None:
        self._inference_services = inference_services
        self._pods = pods
        self._options = options
        self._publish = publish
        self._metrics = metrics
        self.published = asyncio.Event()
        """Set once there is a snapshot."""
        self._changed = asyncio.Event()
        self._version: str | None = None
        self._problems: tuple[str, ...] = ()
        for source in (inference_services, pods):
            source.on_change(lambda _old, _new: self._changed.set())

    async def run(self) -> None:
        """Never ends. An error in one snapshot leaves the last one in use."""
        # Half of the picture would take routes away that exist.
        await self._inference_services.synced.wait()
        await self._pods.synced.wait()
        self._changed.set()
        while True:
            await self._changed.wait()
            await asyncio.sleep(SETTLE_SECONDS)
            self._changed.clear()
            began = time.perf_counter()
            try:
                self._refresh()
            except Exception:
                self._metrics.snapshot_errors.inc()
                log.exception("no snapshot could be made; the last one stays in use")
            took = time.perf_counter() - began
            self._metrics.build_seconds.observe(took)
            await asyncio.sleep(took * _REST)

    def _refresh(self) -> None:
        snapshot = build(self._inference_services.list(), self._pods.list(), self._options)
        version = snapshot.version
        if (version, snapshot.problems) == (self._version, self._problems):
            return
        self._publish(snapshot)
        self._metrics.published(snapshot)
        log.info("published a snapshot", version=version)
        for problem in sorted(set(snapshot.problems) - set(self._problems)):
            log.warning("an InferenceService cannot have its host", problem=problem)
        self._version, self._problems = version, snapshot.problems
        self.published.set()
