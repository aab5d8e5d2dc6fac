"""What the real Envoy counts: each InferenceService's answers, its own included, and no client's text."""

from __future__ import annotations

import asyncio
import random
import socket
import string
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.gateway.bench import LOOPBACK, Bench, benched
from tests.gateway.objects import inference_service, pod

from .page import known_series

pytestmark = pytest.mark.envoy

_HOST = "a.default.example.com"
_REQUESTS = 30_000
_CONNECTIONS = 2


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with benched(tmp_path) as made:
        yield made


async def test_answers_of_pods_and_of_envoy_itself(bench: Bench) -> None:
    one = await bench.upstream("one")
    await bench.show(
        [inference_service("a", {"a-1": 100}), inference_service("down", {"down-1": 100})],
        [pod("a", "a-1", LOOPBACK, one.port)],
    )
    await bench.serving()
    for status in (200, 200, 429):
        one.status = status
        assert (await bench.get(_HOST))[0] == status
    assert (await bench.get("down.default.example.com"))[0] == 503
    assert (await bench.get("nobody.example.com"))[0] == 404
    assert await _counts(bench, 5) == {
        ("default/a", "200", "-"): 2,
        ("default/a", "429", "-"): 1,
        ("default/down", "503", "-"): 1,
        ("unknown-host", "404", "-"): 1,
    }


async def test_an_answer_that_a_pod_broke_off_is_told_from_one_that_a_client_left(bench: Bench) -> None:
    one = await bench.upstream("one")
    async with _breaks_off() as port:
        await bench.show(
            [inference_service("a", {"a-1": 100}), inference_service("b", {"b-1": 100})],
            [pod("a", "a-1", LOOPBACK, port), pod("b", "b-1", LOOPBACK, one.port)],
        )
        await bench.serving()
        with pytest.raises(aiohttp.ClientPayloadError):
            await bench.get(_HOST)
        async with bench.client.get(f"{bench.url}/stream", headers={"Host": "b.default.example.com"}) as left:
            await left.content.readany()
            left.close()
        counts = await _counts(bench, 2)
        one.goes_on.set()
    assert counts == {("default/a", "200", "UPE"): 1, ("default/b", "200", "DC"): 1}


async def test_hosts_paths_and_methods_that_clients_invent_make_no_series(bench: Bench) -> None:
    one = await bench.upstream("one")
    await bench.show([inference_service("a", {"a-1": 100})], [pod("a", "a-1", LOOPBACK, one.port)])
    await bench.serving()
    chance = random.Random(7)
    await bench.get(_HOST)
    await _shout(bench, chance, 100)
    before = await _series(bench)
    await _shout(bench, chance, _REQUESTS)
    assert await _series(bench) - before == set()
    assert (await _counts(bench, _REQUESTS + 101))["unknown-host", "404", "-"] == _REQUESTS + 100


def test_the_page_has_the_labels() -> None:
    assert known_series()["envoy_stoker_requests"] == {"inferenceservice", "status", "flags"}


async def _shout(bench: Bench, chance: random.Random, count: int) -> None:
    """So many requests for hosts, paths and agents that were never heard of."""
    port = bench.options.listener_port
    each = [
        _one_by_one(port, random.Random(chance.random()), count // _CONNECTIONS) for _ in range(_CONNECTIONS)
    ]
    await asyncio.gather(*(asyncio.to_thread(run) for run in each))


def _one_by_one(port: int, chance: random.Random, count: int) -> Callable[[], None]:
    def run() -> None:
        with socket.create_connection((LOOPBACK, port), timeout=20) as connection:
            for _ in range(count):
                connection.sendall(_request(chance))
                answer = connection.recv(4096)
                assert answer.startswith(b"HTTP/1.1 404"), answer

    return run


def _request(chance: random.Random) -> bytes:
    word = "".join(chance.choices(string.ascii_lowercase, k=10))
    method = chance.choice(("GET", "PUT", "DELETE", "OPTIONS", "PATCH"))
    head = f"{method} /{word}/v1/models HTTP/1.1\r\nHost: {word}.example.com\r\nUser-Agent: {word}\r\n"
    return f"{head}\r\n".encode()


async def _counts(bench: Bench, total: int) -> dict[tuple[str, str, str], int]:
    """The counter, once it has counted so many: a request counts when all of it is over."""
    async with asyncio.timeout(20):
        while True:
            found = {
                (labels["inferenceservice"], labels["status"], labels["flags"]): int(value)
                for name, labels, value in await _samples(bench)
                if name == "envoy_stoker_requests_total"  # the parser calls all counters so
            }
            if sum(found.values()) >= total:
                return found
            await asyncio.sleep(0.05)


async def _series(bench: Bench) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    return {(name, tuple(sorted(labels.items()))) for name, labels, _ in await _samples(bench)}


async def _samples(bench: Bench) -> list[tuple[str, dict[str, str], float]]:
    async with bench.client.get(f"http://{LOOPBACK}:{bench.ports.stats}/stats/prometheus") as answer:
        text = await answer.text()
    families = text_string_to_metric_families(text)
    return [(each.name, each.labels, each.value) for family in families for each in family.samples]


@asynccontextmanager
async def _breaks_off() -> AsyncIterator[int]:
    """The port of a pod that begins an answer and dies."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\ndata: \r\n")
        await writer.drain()
        writer.transport.abort()

    async with await asyncio.start_server(answer, LOOPBACK, 0) as server:
        yield server.sockets[0].getsockname()[1]
