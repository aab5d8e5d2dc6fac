"""Clients of the real API server, and of a server that fails as it is told."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from stoker.kube.client import Client, ConnectionConfig, connect
from stoker.kube.resource import NAMESPACES
from stoker.local.control_plane import ApiServer
from tests.kube.faults import FaultServer


@pytest.fixture(scope="session", autouse=True)
def _plain_tracebacks() -> Iterator[None]:
    """Structlog's default prints local variables, taking a second for each traceback."""
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, renderer])
    yield
    structlog.reset_defaults()


@pytest.fixture
async def kube(api_server: ApiServer) -> AsyncIterator[Client]:
    """A client of the real server."""
    path = str(api_server.kubeconfig)
    async with connect(ConnectionConfig(path, user_agent="kube-test/1", field_manager="tests")) as client:
        yield client


@pytest.fixture
async def namespace(kube: Client) -> str:
    """A namespace of the test's own."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    await kube.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


@pytest.fixture
async def proxy(api_server: ApiServer) -> AsyncIterator[FaultServer]:
    """In front of the real server."""
    async with FaultServer(api_server.kubeconfig).running() as server:
        yield server


@pytest.fixture
async def proxied(proxy: FaultServer, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of `proxy`."""
    async with proxy.client(tmp_path, field_manager="tests") as client:
        yield client


@pytest.fixture
async def scripted() -> AsyncIterator[FaultServer]:
    """With nothing behind it."""
    async with FaultServer().running() as server:
        yield server


@pytest.fixture
async def client(scripted: FaultServer, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of `scripted`."""
    async with scripted.client(tmp_path, field_manager="tests") as client:
        yield client
