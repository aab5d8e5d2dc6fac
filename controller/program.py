"""The program: what starts in which order. Each `async with` below is a step; the stop is the reverse."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from controller import VERSION
from controller.caches import Caches, owner_key
from controller.event_lookup import EventLookup
from controller.metrics import Metrics
from controller.options import Options, parse_options
from controller.reconciler import InferenceServiceReconciler
from controller.state_poll import StatePoll
from stoker.configuration import load_args_schemas
from stoker.kube import loop_lag
from stoker.kube.client import ConnectionConfig, connect
from stoker.kube.control_loop import ControlLoop
from stoker.kube.events import EventRecorder
from stoker.kube.health import HealthServer
from stoker.kube.lease import LeaderLease, LeaseConfig
from stoker.kube.program import configure_logging, run_until_signalled
from stoker.kube.verbs import Client
from stoker.serving import names
from stoker.serving.settings import Settings

NAME = names.MANAGER
LEASE = "stoker-controller"
CONTROLLER = "inferenceservice"  # the control loop's name in logs and metrics
RECONCILE_SECONDS = 60.0


def main(arguments: Sequence[str]) -> int:
    """Run until SIGTERM or SIGINT; returns the process's exit status."""
    options = parse_options(arguments)
    configure_logging(None if options.log_format is None else options.log_format == "json")
    return run_until_signalled(lambda: run(options))


async def run(options: Options) -> None:
    """Connect, answer probes, fill the caches, wait to lead, work."""
    config = ConnectionConfig(options.kubeconfig, f"{NAME}/{VERSION}", field_manager=NAME)
    identity = f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
    metrics = Metrics()
    metrics.loop.leading(LEASE, False)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(connect(config))
        caches = Caches(
            client,
            (options.namespace, options.gateway_selector) if options.gateway_selector else None,
            load_args_schemas(options.args_schemas),
        )
        health = HealthServer(
            "0.0.0.0",
            options.health_port,
            live=list,
            ready=caches.unsynced,
            metrics=metrics.exposition,
        )
        await stack.enter_async_context(health.running())
        await stack.enter_async_context(loop_lag.sampled(metrics.loop_lag.observe))
        await stack.enter_async_context(caches.running())
        if options.leader_elect:
            lease = LeaderLease(client, LeaseConfig(options.namespace, LEASE, identity))
            await stack.enter_async_context(lease.held())
            client = client.fenced(lease.check)
        metrics.loop.leading(LEASE, True)
        stack.callback(metrics.loop.leading, LEASE, False)
        work = Work(client, caches, options.settings, metrics, identity, options.workers, options.state_poll)
        await stack.enter_async_context(work.running())
        await asyncio.Event().wait()  # ended by a signal, or by a lost lease


@dataclass
class Work:
    """What only the leader does: poll pods, reconcile, tell."""

    client: Client
    caches: Caches
    settings: Settings
    metrics: Metrics
    identity: str
    workers: int = 4
    state_poll: float = 2.0
    loop: ControlLoop = field(init=False)
    poll: StatePoll = field(init=False)
    lookup: EventLookup = field(init=False)

    def __post_init__(self) -> None:
        self.poll = StatePoll(
            self.caches.pods,
            self.metrics,
            interval=self.state_poll,
            changed=lambda pod: self.loop.queue.add(owner_key(pod)),
        )
        self.lookup = EventLookup(
            self.client,
            self.caches.pods,
            changed=lambda pod: self.loop.queue.add(owner_key(pod)),
            knows=lambda pod: bool(self.poll.document(pod)),
        )
        self._events = EventRecorder(self.client, f"{names.DOMAIN}/controller", self.identity)
        reconciler = InferenceServiceReconciler(
            self.client,
            self.caches,
            self.settings,
            state_of=self.poll.document,
            said_of=self.lookup.said,
            events=self._events,
            metrics=self.metrics,
        )
        self.loop = ControlLoop(
            CONTROLLER, reconciler, workers=self.workers, timeout=RECONCILE_SECONDS, metrics=self.metrics.loop
        )
        self.metrics.loop.watch_queue(CONTROLLER, self.loop.queue)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work beside the body."""
        self.caches.feed(self.loop)
        async with self._events.running(), self.poll.running(), self.lookup.running(), self.loop.running():
            yield
