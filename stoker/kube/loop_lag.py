"""How late a program's event loop is: probes, watches and renewals of the lease wait that long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

EVERY_SECONDS = 0.25
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds, for a histogram of what is observed."""


@asynccontextmanager
async def sampled(observe: Callable[[float], None], every: float = EVERY_SECONDS) -> AsyncIterator[None]:
    """Beside the body, gives `observe` the seconds by which a sleep of `every` seconds ended late."""
    task = asyncio.create_task(_sample(observe, every), name="event loop lag")
    try:
        yield
    finally:
        task.cancel()


async def _sample(observe: Callable[[float], None], every: float) -> None:
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + every
        await asyncio.sleep(every)
        observe(max(0.0, clock() - due))
