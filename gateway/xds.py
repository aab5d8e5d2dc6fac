"""The gRPC end of the control plane: one stream per Envoy, each with a session of its own.

Only the incremental variant of the aggregated service is offered; the bootstrap asks for no other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import structlog
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from gateway.encoding import Encoder, request
from gateway.metrics import GatewayMetrics
from gateway.session import Session, Verdict
from gateway.snapshot import Snapshot

log = structlog.get_logger()

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_OPTIONS = [
    ("grpc.max_receive_message_length", 64 * 2**20),  # an Envoy names all its clusters in one request
    ("grpc.so_reuseport", 0),  # a second gateway on the same port must fail, not share Envoys with the first
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # Envoy's keep-alive is no attack
    ("grpc.http2.max_ping_strikes", 0),
]


class _Stream:
    """One connected Envoy."""

    def __init__(self) -> None:
        self.session = Session()
        self.wake = asyncio.Event()
        self.behind_since: float | None = None


class AdsServer:
    """Serves the latest snapshot to every Envoy that connects. Nothing is answered before the first one."""

    def __init__(
        self, host: str, port: int, metrics: GatewayMetrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`port` 0: any free one, in `port` once the server runs."""
        self._host = host
        self.port = port
        self._metrics = metrics
        self._clock = clock
        self._encoder = Encoder()
        self._snapshot: Snapshot | None = None
        self._streams: set[_Stream] = set()
        self._alone_since: float | None = clock()  # without a snapshot, or without an Envoy that has it

    def publish(self, snapshot: Snapshot) -> None:
        """Send this to all Envoys. Raises, and changes nothing, where it cannot be encoded."""
        wanted = {(kind, name) for kind, named in snapshot.by_type.items() for name in named}
        for type_url, named in snapshot.by_type.items():
            for each in named.values():
                self._encoder.encode(type_url, each)
        self._encoder.keep_only(wanted)
        self._snapshot = snapshot
        if self._streams:
            self._alone_since = None
        for stream in self._streams:
            self._show(stream, snapshot)

    def seconds_behind(self) -> float:
        """How long the slowest Envoy has lacked the latest snapshot; 0 where all have accepted it.

        An Envoy that is not connected lacks it too: where none is, since the last one left; where there is no
        snapshot yet, since the server was made.
        """
        since = [stream.behind_since for stream in self._streams if stream.behind_since is not None]
        if self._alone_since is not None:
            since.append(self._alone_since)
        return self._clock() - min(since) if since else 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve while the body runs. OSError where the port is taken."""
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((_handlers(self._converse),))
        try:
            self.port = server.add_insecure_port(f"{self._host}:{self.port}")
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._host}:{self.port}: {error}") from error
        await server.start()
        log.info("serving xDS", host=self._host, port=self.port)
        try:
            yield
        finally:
            await server.stop(grace=None)

    def _show(self, stream: _Stream, snapshot: Snapshot) -> None:
        stream.session.publish(snapshot)
        if stream.behind_since is None and not stream.session.settled:
            stream.behind_since = self._clock()
        stream.wake.set()

    async def _converse(
        self,
        requests: AsyncIterator[DeltaDiscoveryRequest],
        context: grpc.aio.ServicerContext[DeltaDiscoveryRequest, DeltaDiscoveryResponse],
    ) -> None:
        stream = _Stream()
        self._streams.add(stream)
        self._metrics.connected.set(len(self._streams))
        log.info("an Envoy connected", peer=context.peer())
        if self._snapshot is not None:
            self._alone_since = None
            self._show(stream, self._snapshot)
        reader = asyncio.create_task(self._read(stream, requests), name="xds reader")
        try:
            while not reader.done():
                await stream.wake.wait()
                stream.wake.clear()
                for response in stream.session.outgoing():
                    self._metrics.pushed(response.type_url)
                    await context.write(self._encoder.response(response))
            await reader
        finally:
            reader.cancel()
            self._streams.discard(stream)
            if not self._streams and self._alone_since is None:
                self._alone_since = self._clock()
            self._metrics.connected.set(len(self._streams))
            log.info("an Envoy left", peer=context.peer())

    async def _read(self, stream: _Stream, requests: AsyncIterator[DeltaDiscoveryRequest]) -> None:
        try:
            async for message in requests:
                verdict = stream.session.receive(request(message))
                if verdict is not None and verdict.error is not None:
                    self._refused(verdict, verdict.error)
                if stream.behind_since is not None and stream.session.settled:
                    self._metrics.settled.observe(self._clock() - stream.behind_since)
                    stream.behind_since = None
                stream.wake.set()
        finally:
            stream.wake.set()

    def _refused(self, verdict: Verdict, error: str) -> None:
        """What the Envoy had before stays in use; the same version is not sent again."""
        self._metrics.refused(verdict.response.type_url)
        log.error(
            "Envoy refused a configuration",
            type=verdict.response.type_url,
            version=verdict.response.version,
            resources=[each.name for each in verdict.response.changed],
            error=error,
        )


def _handlers(converse: Callable[..., Any]) -> Any:
    handler = grpc.stream_stream_rpc_method_handler(
        converse,
        request_deserializer=DeltaDiscoveryRequest.FromString,
        response_serializer=DeltaDiscoveryResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(_SERVICE, {"DeltaAggregatedResources": handler})
