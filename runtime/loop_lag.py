"""How late the event loop is: every stream of this process waits that long for its next token to be sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

EVERY_SECONDS = 0.25


async def sample(observe: Callable[[float], None], every: float = EVERY_SECONDS) -> None:
    """Gives `observe` the seconds by which a sleep of `every` seconds ended late, until cancelled."""
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + every
        await asyncio.sleep(every)
        observe(max(0.0, clock() - due))
