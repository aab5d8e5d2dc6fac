"""The program: answers the API server's questions about InferenceServices and runtimes.

Start order: probes, caches, certificate, TLS, registration; the end in reverse. Replicas are equal, and no
request to the API server is made while answering.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import uvloop

from stoker.configuration import load_args_schemas
from stoker.kube import loop_lag
from stoker.kube.background import task_group
from stoker.kube.client import Client, ConnectionConfig, connect
from stoker.kube.health import HealthServer
from stoker.kube.informer import Informer
from stoker.kube.program import configure_logging, run_until_signalled
from stoker.kube.resource import SECRETS, VALIDATING_WEBHOOK_CONFIGURATIONS
from webhook import registration
from webhook.caches import Caches
from webhook.certificates import SystemRandomness
from webhook.keeper import Keeper, LiveTls
from webhook.metrics import Metrics
from webhook.options import Options, parse_options
from webhook.registration import Registrar
from webhook.secret import SECRET, SecretStore
from webhook.server import Admission, Leaving, serving


class Program:
    """The parts, wired."""

    def __init__(self, options: Options, client: Client) -> None:
        self.options = options
        self.client = client
        self.metrics = Metrics()
        self.caches = Caches(
            client, options.settings, load_args_schemas(options.args_schemas), self.metrics.runtimes
        )
        self.admission = Admission(self.caches.rules_for, self.metrics, newer_rules=self.caches.newer_rules)
        self.tls = LiveTls()
        self.keeper = Keeper(
            SecretStore(client, options.namespace),
            self.tls,
            names=options.reach(options.port).names,
            lifetimes=options.lifetimes,
            clock=_now,
            randomness=SystemRandomness(),
            metrics=self.metrics,
        )

    async def run(self) -> None:
        """Serve until cancelled."""
        health = HealthServer(
            "0.0.0.0",
            self.options.health_port,
            live=self.admission.problems,
            ready=self._not_ready,
            metrics=self.metrics.exposition,
        )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(health.running())
            await stack.enter_async_context(loop_lag.sampled(self.metrics.loop_lag.observe))
            for informer in self._triggers():
                await stack.enter_async_context(informer.running())
            await stack.enter_async_context(self.caches.running())
            # What fills the caches stays: walking thousands of objects in each full collection would be a
            # pause of tens of milliseconds in the middle of a review.
            gc.collect()
            gc.freeze()
            group = await stack.enter_async_context(task_group())
            keeping = group.create_task(self.keeper.run(), name="keeper")
            stack.callback(keeping.cancel)
            await self.keeper.served.wait()
            await self._serve(stack)
            await asyncio.Event().wait()

    async def _serve(self, stack: AsyncExitStack) -> None:
        options = self.options
        leaving = Leaving(options.drain.total_seconds(), options.linger.total_seconds())
        address = await stack.enter_async_context(
            serving(self.admission, options.host, options.port, tls=self.tls.context, leaving=leaving)
        )
        self.keeper.registrar = Registrar(
            self.client, options.reach(address[1]), address, clock=_now, writes=options.register
        )
        self.keeper.wake()

    def _triggers(self) -> list[Informer]:
        """One Secret and one registration: watched by name, which is all that the role allows."""
        secret = Informer(
            self.client,
            SECRETS,
            namespace=self.options.namespace,
            field_selector=f"metadata.name={SECRET}",
        )
        name = f"metadata.name={registration.NAME}"
        watched = [secret, Informer(self.client, VALIDATING_WEBHOOK_CONFIGURATIONS, field_selector=name)]
        for informer in watched:
            informer.on_change(self.keeper.wake)
        return watched

    def _not_ready(self) -> list[str]:
        if self.admission.draining:
            return ["shutting down"]
        starting = [] if self.keeper.registrar else ["TLS is not served yet"]
        return self.caches.unsynced() + self.keeper.problems() + starting


def main(arguments: Sequence[str]) -> int:
    """Run until SIGTERM or SIGINT; returns the process's exit status."""
    options = parse_options(arguments)
    configure_logging(None if options.log_format is None else options.log_format == "json")
    return run_until_signalled(lambda: run(options), loop_factory=uvloop.new_event_loop)


async def run(options: Options) -> None:
    """The program, with its connection."""
    config = ConnectionConfig(options.kubeconfig, user_agent="stoker-webhook", field_manager="stoker-webhook")
    async with connect(config) as client:
        await Program(options, client).run()


def _now() -> datetime:
    return datetime.now(UTC)
