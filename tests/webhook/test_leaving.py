"""How a replica goes: no request is lost on a connection that an API server still holds."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from stoker.kube.resource import Key
from stoker.serving.settings import Settings
from tests.webhook.keys import CountedRandomness
from tests.webhook.objects import inference_service, review
from webhook.certificates import make_authority, make_leaf
from webhook.keeper import LiveTls
from webhook.metrics import Metrics
from webhook.registration import Reach
from webhook.review import Rules
from webhook.server import Admission, Leaving, serving

_BODY = json.dumps(review(inference_service())).encode()
_REQUEST = (
    b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Replica:
    def __init__(self, address: tuple[str, int], stop: asyncio.Event, ended: asyncio.Task[None]) -> None:
        self.address, self.stop, self.ended = address, stop, ended

    async def connect(self) -> Connection:
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        return await asyncio.open_connection(*self.address, ssl=trusting)


@asynccontextmanager
async def replica(leaving: Leaving) -> AsyncIterator[Replica]:
    now, chance = datetime.now(UTC), CountedRandomness(1)
    reach = Reach(Key("stoker-system", "stoker-webhook"))
    authority = make_authority(now, timedelta(days=60), chance)
    tls, stop = LiveTls(), asyncio.Event()
    tls.serve(make_leaf(authority, reach.names, now, timedelta(days=7), chance))
    address: asyncio.Future[tuple[str, int]] = asyncio.Future()

    async def serve() -> None:
        admission = Admission(lambda asked: Rules(Settings()), Metrics())
        async with serving(admission, "127.0.0.1", 0, tls=tls.context, leaving=leaving) as where:
            address.set_result(where)
            await stop.wait()

    async with asyncio.TaskGroup() as group:
        ended = group.create_task(serve())
        yield Replica(await address, stop, ended)
        stop.set()


async def ask(connection: Connection) -> bytes:
    """The head of the answer."""
    reader, writer = connection
    writer.write(_REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    await reader.readexactly(int(length.split(b":")[1]))
    return head


async def test_an_idle_connection_is_the_clients_to_end() -> None:
    async with replica(Leaving(drain=0.0, linger=60.0)) as going:
        used, idle = await going.connect(), await going.connect()
        assert b"close" not in (await ask(used)).lower()
        await ask(idle)
        going.stop.set()
        await asyncio.sleep(0)
        late = await going.connect()
        assert b"connection: close" in (await ask(late)).lower(), "whoever comes late is answered too"
        head = await ask(used)
        assert head.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in head.lower()
        assert await used[0].read() == b"", "the answer ended its connection"
        assert not going.ended.done(), "somebody may still write into the other one"
        assert (await ask(idle)).startswith(b"HTTP/1.1 200")
        await going.ended
        for _, writer in (used, idle, late):
            writer.close()


async def test_nobody_connected_nothing_to_wait_for() -> None:
    async with replica(Leaving(drain=0.0, linger=60.0)) as going:
        going.stop.set()
        async with asyncio.timeout(10):
            await going.ended


@pytest.mark.parametrize("linger", [0.0, 0.3])
async def test_a_client_that_never_lets_go_is_not_waited_for_for_ever(linger: float) -> None:
    async with replica(Leaving(drain=0.0, linger=linger)) as going:
        reader, writer = await going.connect()
        going.stop.set()
        await going.ended
        assert await reader.read() == b""
        writer.close()
