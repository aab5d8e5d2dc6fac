"""Keeps the certificates: reads the Secret, takes the steps that are due, serves the leaf, registers.

Every replica runs this and none leads. All of them plan from the same Secret, each write names the version
that it was planned from, and who loses a race goes on with what the winner wrote.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from stoker.kube.backoff import Backoff
from stoker.kube.client import ApiError, ConnectionFailed
from webhook.certificates import Held, Pair, Randomness
from webhook.metrics import Metrics
from webhook.registration import NotServed, Registrar
from webhook.renewal import Lifetimes, Step, next_due, plan, take
from webhook.secret import SECRET, SecretStore

log = structlog.get_logger()

# The plan is looked at this often even if nothing is due: against missed events and clocks that jump.
LONGEST_WAIT = timedelta(minutes=10)
SHORTEST_WAIT = timedelta(seconds=0.2)
_ROUNDS = 10


class LiveTls:
    """The server's TLS context; a new leaf is swapped in while connections come and go."""

    def __init__(self) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._leaf: Pair | None = None

    @property
    def leaf(self) -> Pair | None:
        """What new connections are answered with."""
        return self._leaf

    def serve(self, leaf: Pair) -> bool:
        """Answer new connections with `leaf`; whether that changed anything. Call from the loop's thread."""
        if self._leaf and leaf.certificate.fingerprint == self._leaf.certificate.fingerprint:
            return False
        # OpenSSL reads files only. A file in memory keeps the key off every disk, and the container's root
        # may stay read-only.
        descriptor = os.memfd_create("leaf")
        try:
            _write_all(descriptor, leaf.certificate.pem + leaf.key_pem)
            self.context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        self._leaf = leaf
        return True


class Keeper:
    """One replica's part in keeping the certificates."""

    def __init__(
        self,
        store: SecretStore,
        tls: LiveTls,
        *,
        names: Sequence[str],
        lifetimes: Lifetimes,
        clock: Callable[[], datetime],
        randomness: Randomness,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self.tls = tls
        self._names = names
        self._lifetimes = lifetimes
        self._clock = clock
        self._randomness = randomness
        self._metrics = metrics
        self._held: Held | None = None
        self._wake = asyncio.Event()
        self.served = asyncio.Event()
        """Set once there is a certificate to serve."""
        self.registrar: Registrar | None = None
        """Set once TLS is served. Until then no new authority signs: it is not known what clients trust."""

    def wake(self, *_: object) -> None:
        """Look again soon: the Secret or the registration changed."""
        self._wake.set()

    def problems(self) -> list[str]:
        """Why no API server would trust this replica now; empty where all is well."""
        if self.tls.leaf is None:
            return ["no certificate yet"]
        if not self.tls.leaf.certificate.valid_at(self._clock()):
            return [f"the certificate is not valid now: it ends {self.tls.leaf.certificate.expires}"]
        return []

    async def run(self) -> None:
        """Keep them until cancelled. Failures are logged and retried: what is served goes on being served."""
        backoff = Backoff(first=0.5, cap=30)
        while True:
            self._wake.clear()
            try:
                wait = (await self.keep()).total_seconds()
                backoff.reset()
            except (ApiError, ConnectionFailed, NotServed) as fault:
                wait = backoff.next()
                log.warning("cannot keep the certificates", reason=str(fault), retry_seconds=round(wait, 1))
            except Exception:
                # A bug here must not take admission down with it while the leaf is still good.
                wait = backoff.next()
                log.exception("keeping the certificates failed", retry_seconds=round(wait, 1))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait)
                # Several changes come at once, and nobody who undoes ours may spin us.
                await asyncio.sleep(SHORTEST_WAIT.total_seconds())

    async def keep(self) -> timedelta:
        """One pass: take every step that is due, serve, register; how long nothing will be due.

        Raises ApiError, ConnectionFailed, and NotServed from registering.
        """
        live = await self.registrar.look() if self.registrar else None
        held = await self._settle()
        self._held = held
        self._serve(held)
        self._metrics.certificates_live(held)
        if self.registrar and held.leaf:
            await self.registrar.register(live, held.bundle, held.leaf.certificate)
        due = next_due(held, self._lifetimes, self._registered(), self._names)
        return max(SHORTEST_WAIT, min(LONGEST_WAIT, due - self._clock()))

    async def _settle(self) -> Held:
        """What the Secret holds once nothing is due any more."""
        for _ in range(_ROUNDS):
            held, now = await self._store.read(), self._clock()
            step = plan(held, now, self._lifetimes, self._registered(), self._names)
            if held is not None and step is Step.KEEP:
                return held
            if held is None and self._held and self._held.authority.certificate.valid_at(now):
                # Deleted or damaged under a running webhook: clients trust what is served, so it comes back.
                # (To be rid of a key that leaked: scale to zero, delete the Secret, scale up.)
                step, changed = Step.KEEP, self._held
            else:
                changed = self._take(step, held, now)
            if await self._store.write(changed):
                log.info("certificates written", step=step.value, trusted=_named(changed))
                self._metrics.certificate_step(step)
        raise ApiError(409, "Conflict", f"{SECRET} changes faster than it can be read")

    def _take(self, step: Step, held: Held | None, now: datetime) -> Held:
        return take(
            step, held, now, lifetimes=self._lifetimes, names=self._names, randomness=self._randomness
        )

    def _registered(self) -> Mapping[str, datetime]:
        return self.registrar.since if self.registrar else {}

    def _serve(self, held: Held) -> None:
        if held.leaf and self.tls.serve(held.leaf):
            self.served.set()
            certificate = held.leaf.certificate
            log.info("serving a certificate", names=sorted(certificate.names), ends=str(certificate.expires))


def _named(held: Held) -> list[str]:
    return [certificate.fingerprint[:12] for certificate in held.trusted]


def _write_all(descriptor: int, data: bytes) -> None:
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
