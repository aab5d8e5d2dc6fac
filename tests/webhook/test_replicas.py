"""Certificates with real processes, a real Secret and a real API server that must never meet a bad one."""

from __future__ import annotations

import asyncio
import base64
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stoker.kube.client import ApiError
from stoker.kube.resource import SECRETS, VALIDATING_WEBHOOK_CONFIGURATIONS, Key
from stoker.local.control_plane import ApiServer
from tests.webhook.objects import bad_inference_service
from tests.webhook.program import INFERENCE_SERVICES, Cluster, Webhook, cluster, eventually
from webhook.certificates import SystemRandomness, fingerprints
from webhook.keeper import Keeper, LiveTls
from webhook.metrics import Metrics
from webhook.registration import NAME
from webhook.renewal import Lifetimes
from webhook.secret import SECRET, SecretStore, decode

pytestmark = pytest.mark.apiserver


@pytest.fixture
async def replicas(
    api_server: ApiServer, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Cluster]:
    namespace = request.node.name.replace("_", "-")[:50].strip("-")
    async with cluster(api_server, tmp_path, namespace) as made:
        yield made


def version(obj: dict[str, dict[str, str]]) -> str:
    return obj["metadata"]["resourceVersion"]


async def served(replica: Webhook, bundle: bytes) -> bytes:
    """One handshake as the API server's; the certificate that came, DER."""
    context = ssl.create_default_context(cadata=bundle.decode())
    _, writer = await asyncio.open_connection(
        "127.0.0.1", replica.port, ssl=context, server_hostname="127.0.0.1"
    )
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return found


def keeper(made: Cluster) -> Keeper:
    return Keeper(
        SecretStore(made.client, made.namespace),
        LiveTls(),
        names=["stoker-webhook.stoker-system.svc"],
        lifetimes=Lifetimes(),
        clock=lambda: datetime.now(UTC),
        randomness=SystemRandomness(),
        metrics=Metrics(),
    )


async def test_who_loses_the_race_serves_what_the_winner_made(replicas: Cluster) -> None:
    racing = [keeper(replicas) for _ in range(5)]
    await asyncio.gather(*(one.keep() for one in racing))
    stored = decode((await replicas.secret())["data"])
    assert stored.leaf is not None
    served_by = {one.tls.leaf.certificate.fingerprint for one in racing if one.tls.leaf}
    assert served_by == {stored.leaf.certificate.fingerprint}
    assert [one.problems() for one in racing] == [[]] * 5
    before = version(await replicas.secret())
    for one in racing:
        assert await one.keep() == timedelta(minutes=10)
    assert version(await replicas.secret()) == before, "nothing is due: nothing is written"


async def test_a_secret_lost_or_damaged_under_running_replicas_comes_back(replicas: Cluster) -> None:
    one, other, key = keeper(replicas), keeper(replicas), Key(replicas.namespace, SECRET)
    await one.keep()
    await other.keep()
    data = (await replicas.secret())["data"]
    await replicas.client.delete(SECRETS, key)
    await asyncio.gather(one.keep(), other.keep())
    assert (await replicas.secret())["data"] == data
    await replicas.client.merge_patch(SECRETS, key, {"data": {"ca.key": base64.b64encode(b"?").decode()}})
    await other.keep()
    assert (await replicas.secret())["data"] == data
    fresh = keeper(replicas)
    await replicas.client.merge_patch(SECRETS, key, {"data": {"ca.key": base64.b64encode(b"?").decode()}})
    await fresh.keep()
    assert (await replicas.secret())["data"] != data, "who never served it can only begin anew"


async def test_two_replicas_and_a_restart_share_one_authority(replicas: Cluster) -> None:
    first = await replicas.start()
    second = await replicas.start("--no-register")
    bundle = await replicas.bundle()
    assert len(fingerprints(bundle)) == 1
    assert await served(first, bundle) == await served(second, bundle)
    before = version(await replicas.secret()), version(await replicas.registration())
    assert second.stop() == 0, second.log.read_text()
    second = await replicas.start("--no-register")
    assert await served(first, bundle) == await served(second, bundle)
    assert (version(await replicas.secret()), version(await replicas.registration())) == before
    await replicas.client.delete(VALIDATING_WEBHOOK_CONFIGURATIONS, Key("", NAME))

    async def back() -> bool:
        try:
            return await replicas.bundle() == bundle
        except ApiError:
            return False

    await eventually(back, "the registration does not come back", seconds=10)


@asynccontextmanager
async def load(made: Cluster, answers: list[ApiError | Exception | None]) -> AsyncIterator[None]:
    """Bad objects, one after the other: refused by the webhook means that the webhook was asked."""
    go_on = True

    async def create() -> None:
        while go_on:
            try:
                await made.client.create(INFERENCE_SERVICES, bad_inference_service("load"), dry_run=True)
                answers.append(None)
            except Exception as error:
                answers.append(error)
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(create())
        yield
        go_on = False


def was_asked(answer: ApiError | Exception | None) -> bool:
    return isinstance(answer, ApiError) and answer.status == 422 and "denied the request" in answer.message


async def test_a_clean_end_answers_what_is_under_way(replicas: Cluster) -> None:
    replica = await replicas.start()
    answers: list[ApiError | Exception | None] = []
    async with load(replicas, answers):
        await asyncio.sleep(0.5)
        replica.process.send_signal(signal.SIGTERM)
        # As endpoints are removed while a replica drains; here nothing else answers, so nobody asks.
        await asyncio.sleep(0.5)
    assert [answer for answer in answers if not was_asked(answer)] == []
    assert replica.process.wait(20) == 0, replica.log.read_text()
