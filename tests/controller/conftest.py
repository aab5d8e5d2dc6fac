"""Fixtures of the controller's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from stoker.local.control_plane import ApiServer
from tests.controller.world import World, new_world


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    """A namespace of its own on the real API server."""
    async with new_world(str(api_server.kubeconfig)) as made:
        yield made
