"""Authorities rotate and replicas are replaced under load, and no API call notices."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stoker.kube.client import ApiError
from stoker.kube.resource import Key
from stoker.local.control_plane import ApiServer
from tests.webhook.objects import bad_inference_service, cluster_runtime, inference_service
from tests.webhook.program import CLUSTER_RUNTIMES, INFERENCE_SERVICES, Cluster, Webhook, cluster, eventually
from tests.webhook.service import Service
from webhook.certificates import fingerprints

pytestmark = pytest.mark.apiserver

PER_SECOND = 50
ROTATIONS = 5
ROLLS = 3
# A whole life of an authority in 9 s instead of 60 days: a new one every 6 s.
QUICK = ("--ca-life=9s", "--leaf-life=5s", "--announce=1s", "--overlap=1s", "--linger=95s")


class Load:
    """50 creates a second, whatever the answers take; every fifth must be refused, by the webhook."""

    def __init__(self, made: Cluster) -> None:
        self._client = made.client
        self.sent = 0
        self.failed: list[str] = []
        self.slowest = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            pace = group.create_task(self._pace(group))
            yield
            pace.cancel()

    async def _pace(self, group: asyncio.TaskGroup) -> None:
        begun = time.monotonic()
        while True:
            self.sent += 1
            group.create_task(self._create(self.sent))
            await asyncio.sleep(max(0.0, begun + self.sent / PER_SECOND - time.monotonic()))

    async def _create(self, number: int) -> None:
        begun = time.monotonic()
        make = bad_inference_service if number % 5 == 0 else inference_service
        try:
            await self._client.create(INFERENCE_SERVICES, make(f"load-{number}"), dry_run=True)
            answer = "stored"
        except ApiError as error:
            asked = error.status == 422 and "denied the request" in error.message
            answer = "denied" if asked else str(error)
        except Exception as error:
            answer = repr(error)
        if answer != ("denied" if number % 5 == 0 else "stored"):
            self.failed.append(f"{number}: {answer}")
        self.slowest = max(self.slowest, time.monotonic() - begun)


async def rolled(made: Cluster, service: Service, live: list[Webhook]) -> None:
    """As a Deployment does it: one more is ready before one goes; endpoints first, then the signal.

    Nobody waits for the end of the old one, which may be as far away as an idle connection's.
    """
    for old in list(live):
        live.append(await started(made, service))
        live.remove(old)
        service.ports.remove(old.port)
        old.process.send_signal(signal.SIGTERM)


async def ended(made: Cluster, live: list[Webhook]) -> None:
    """Those that were replaced are gone, or only wait for the API server to let go of them."""
    for old in made.replicas:
        if old in live:
            continue
        if old.process.poll() is None:
            old.process.send_signal(signal.SIGTERM)  # the second one: at once
            assert old.process.wait(20) == 128 + signal.SIGTERM, old.log.read_text()
        else:
            assert old.process.returncode == 0, old.log.read_text()


async def started(made: Cluster, service: Service) -> Webhook:
    replica = await made.start_ready(f"--url=https://127.0.0.1:{service.port}", *QUICK)
    service.ports.append(replica.port)
    return replica


async def test_rotations_and_rollouts_under_load_fail_no_call(
    api_server: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Service()
    async with cluster(api_server, tmp_path, "webhook-rotation") as made, service.running():
        await made.client.apply(CLUSTER_RUNTIMES, cluster_runtime())
        live = [await started(made, service), await started(made, service)]
        await eventually(made.asked, "the API server does not ask")
        seen: list[frozenset[str]] = []

        async def rotated() -> bool:
            now = fingerprints(await made.bundle())
            if not seen or now != seen[-1]:
                seen.append(now)
            return len(frozenset[str]().union(*seen)) > ROTATIONS + 1

        load = Load(made)
        async with load.running():
            watching = asyncio.create_task(eventually(rotated, "no rotations", seconds=90))
            for _ in range(ROLLS):
                await rolled(made, service, live)
            await watching
        await ended(made, live)
        await made.client.delete(CLUSTER_RUNTIMES, Key("", cluster_runtime()["metadata"]["name"]))
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{load.sent} creates over {ROLLS} rollouts and {ROTATIONS} rotations:"
            f" {len(load.failed)} failed, the slowest took {load.slowest:.2f} s"
        )
    assert load.failed == []
    assert load.sent > 15 * PER_SECOND
    assert service.refused == 0
    assert max(map(len, seen)) == 2, "the old and the new authority are trusted together"
