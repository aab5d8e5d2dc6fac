from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from runtime.hub import cache as hub_cache
from runtime.hub import fetch, stand_in

from .serving import Server, serve


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Log lines go nowhere; tests that read them capture them."""
    structlog.configure(processors=[_drop])
    yield
    structlog.reset_defaults()


def _drop(logger: object, method: str, event: dict[str, object]) -> dict[str, object]:
    raise structlog.DropEvent


@pytest.fixture
async def echo() -> AsyncIterator[Server]:
    async with serve() as server:
        yield server


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real model's files; brought into the cache once, as `python -m runtime fetch` does it."""
    cache = hub_cache.hub_cache()
    os.environ["HF_HUB_CACHE"] = str(cache)
    return fetch.fetch(stand_in.MODEL_ID, None, cache, refresh=False)
