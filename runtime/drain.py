"""The end: what happens between SIGTERM and exit."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import structlog

from runtime.server.service import Service
from runtime.state import Phase

_CUT_SECONDS = 5.0

log = structlog.get_logger()


class Signals:
    """SIGTERM and SIGINT: the first asks for an orderly end, the second for an end at once."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.interactive = False

    def install(self) -> None:
        """Takes the signals over; call before anything slow."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._received, number)

    def _received(self, number: int) -> None:
        if self.first.is_set():
            self.second.set()
        self.interactive = number == signal.SIGINT
        self.first.set()


async def drain(service: Service, signals: Signals) -> bool:
    """Ends service in order; False when a second signal cut it short.

    /ready turns 503 at once; for the lame-duck time new requests are still served, since proxies learn late;
    then they are refused; answers under way may finish until the drain deadline and are then cut with an
    error that says so.
    """
    settings = service.settings
    service.state.enter(Phase.DRAINING)
    log.info("draining", in_flight=len(service.in_flight), sequences=service.admission.sequences)
    # Ctrl-C in a terminal: nobody routes here who would need time to notice.
    lame_duck = 0.0 if signals.interactive else settings.lame_duck_seconds
    if await _happens(signals.second, lame_duck):
        return False
    service.refusing = True
    done = asyncio.create_task(service.in_flight.empty())
    again = asyncio.create_task(signals.second.wait())
    try:
        await asyncio.wait({done, again}, timeout=settings.drain_seconds, return_when=asyncio.FIRST_COMPLETED)
        if again.done():
            return False
        if not done.done():
            log.warning("drain deadline passed", cut=len(service.in_flight))
            service.in_flight.cut()
            await asyncio.wait({done, again}, timeout=_CUT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        done.cancel()
        again.cancel()
    log.info("drained")
    return True


async def _happens(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
        return True
    return False
