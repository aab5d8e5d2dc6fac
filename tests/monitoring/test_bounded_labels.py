"""Clients cannot make time series: invented models, methods and paths leave the count where it was."""

from __future__ import annotations

import asyncio
import random
import string
from collections.abc import Iterator
from http import HTTPStatus
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest
import structlog
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from yarl import URL

from runtime.server.app import make_app
from runtime.server.edge import route_of
from runtime.state import BackendName, Phase
from tests.runtime.serving import Server, serve

_KNOWN = (
    "/openai/v1/completions",
    "/openai/v1/chat/completions",
    "/openai/v1/models",
    "/v1/models/m:predict",
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(processors=[_drop])
    yield
    structlog.reset_defaults()


def _drop(logger: object, method: str, event: dict[str, object]) -> dict[str, object]:
    raise structlog.DropEvent


async def test_random_models_methods_and_paths_make_no_series() -> None:
    async with serve() as server:
        seeded = random.Random(7)
        # Every kind of answer once: the statuses and routes themselves are few.
        await _send(server, seeded, 200)
        before = await _series(server)
        await _send(server, random.Random(8), 1000)
        after = await _series(server)
    assert {name for name, _ in before} >= {"stoker_runtime_http_requests_total"}
    assert after - before == set()


async def test_a_hundred_thousand_paths_and_methods_are_told_by_the_routes_there_are() -> None:
    """The one label that comes from a request's head, at the function that makes it: the rest of a request
    takes too long to be done so often.
    """
    chance = random.Random(9)
    async with serve() as server:
        app = make_app(server.service)
        there = {resource.canonical for resource in app.router.resources()} | {"unknown"}
        seen: dict[str, int] = {}
        for _ in range(100_000):
            method, path, _body = _request(chance)
            asked = SimpleNamespace(method=method, rel_url=URL(path, encoded=True))
            asked.match_info = await app.router.resolve(cast(web.Request, asked))
            route = route_of(cast(web.Request, asked))
            seen[route] = seen.get(route, 0) + 1
    assert seen.keys() <= there
    assert len(there) < 30
    assert min(seen[route] for route in ("unknown", "/openai/v1/completions")) > 1000


async def test_each_label_of_the_servers_own_has_a_value_from_a_list() -> None:
    async with serve() as server:
        await _send(server, random.Random(10), 200)
        routes = {resource.canonical for resource in make_app(server.service).router.resources()} | {
            "unknown"
        }
        lists: dict[str, set[str]] = {
            "route": routes,
            "status": {str(status.value) for status in HTTPStatus} | {"499"},
            "phase": {phase.value for phase in Phase},
            "backend": {name.value for name in BackendName},
            "state": {"none", "lame_duck", "refusing"},
        }
        values = [
            (label, value)
            for name, labels in await _series(server)
            if name.startswith("stoker_")
            for label, value in labels
        ]
    assert lists.keys() <= {label for label, _ in values}
    assert [(label, value) for label, value in values if label in lists and value not in lists[label]] == []
    assert {label for label, _ in values} - lists.keys() == {"le", "reason", "version"}


async def test_the_count_would_see_a_label_that_a_client_fills() -> None:
    async with serve() as server:
        before = await _series(server)
        server.service.metrics.disconnects.labels("/invented").inc()
        assert len(await _series(server)) == len(before) + 1


async def _send(server: Server, chance: random.Random, count: int) -> None:
    gate = asyncio.Semaphore(8)

    async def one(method: str, path: str, body: object) -> None:
        url = URL(server.url + path, encoded=True)
        async with gate, server.http.request(method, url, json=body) as answer:
            await answer.read()

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one(*_request(chance)))


def _request(chance: random.Random) -> tuple[str, str, object]:
    word = "".join(chance.choices(string.ascii_letters + string.digits, k=12))
    body = {"model": word, "prompt": "a", "max_tokens": 1, "user": word}
    kind = chance.randrange(4)
    if kind == 0:
        return word.upper(), chance.choice(_KNOWN), body
    if kind == 1:
        return "POST", f"/{word}/{word}?q={word}", body
    if kind == 2:
        return "POST", chance.choice(_KNOWN[:2]), body
    return "GET", f"/openai/v1/models/{word}", None


async def _series(server: Server) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}/metrics") as answer:
        text = await answer.text()
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
