"""Probes and scrapes over real HTTP."""

from __future__ import annotations

import aiohttp
import pytest

from stoker.kube.health import HealthServer


async def fetch(server: HealthServer, path: str) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{server.port}{path}") as reply,
    ):
        return reply.status, await reply.text(), reply.headers["Content-Type"]


async def test_problems_stand_in_the_reply() -> None:
    problems: list[str] = []
    server = HealthServer("127.0.0.1", 0, live=list, ready=lambda: problems)
    async with server.running():
        assert (await fetch(server, "/healthz"))[:2] == (200, "ok\n")
        assert (await fetch(server, "/readyz"))[:2] == (200, "ok\n")
        problems += ["pods are not listed yet", "no certificate"]
        assert (await fetch(server, "/readyz"))[:2] == (503, "pods are not listed yet\nno certificate\n")
        assert (await fetch(server, "/healthz"))[0] == 200
        assert (await fetch(server, "/metrics"))[0] == 404


async def test_metrics_and_a_check_that_breaks() -> None:
    def broken() -> list[str]:
        raise KeyError("a bug")

    server = HealthServer("127.0.0.1", 0, live=broken, ready=list, metrics=lambda: b"up 1\n")
    async with server.running():
        status, text, kind = await fetch(server, "/metrics")
        assert (status, text) == (200, "up 1\n")
        assert kind == "text/plain; version=0.0.4; charset=utf-8"
        assert (await fetch(server, "/healthz"))[0] == 500, "a check that breaks is no good sign"
        assert (await fetch(server, "/readyz"))[0] == 200


async def test_the_port_is_free_afterwards_and_taken_meanwhile() -> None:
    first = HealthServer("127.0.0.1", 0, live=list, ready=list)
    async with first.running():
        second = HealthServer("127.0.0.1", first.port, live=list, ready=list)
        with pytest.raises(OSError, match=str(first.port)):
            await second.running().__aenter__()
    async with second.running():
        assert (await fetch(second, "/healthz"))[0] == 200
