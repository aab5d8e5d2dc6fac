"""The orderly end of the Envoy beside this program, over its administration port.

Envoy itself ends at once on SIGTERM and cuts every stream. In the pod it is a sidecar, so the kubelet
stops it only after this program has ended, which is when nothing is under way any more.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

import aiohttp
import structlog

from gateway.resources import LISTENER_NAME

log = structlog.get_logger()

_POLL_SECONDS = 0.5
_CALL_TIMEOUT = aiohttp.ClientTimeout(total=5)
_ACTIVE = f"http.{LISTENER_NAME}.downstream_rq_active"


@dataclass(frozen=True)
class DrainTimes:
    """Seconds. `delay`: still taking new connections, while others learn that this pod is ending."""

    delay: float
    most: float  # for requests under way after that


async def drain(admin: str, times: DrainTimes) -> bool:
    """Let requests end: whether all had, before the time was over. `admin` is Envoy's administration URL.

    From the start Envoy says that it is not ready and asks clients to reconnect elsewhere
    (`connection: close`, GOAWAY); after the delay it takes no new connections.
    """
    async with aiohttp.ClientSession(admin, timeout=_CALL_TIMEOUT) as session:
        try:
            await _post(session, "/healthcheck/fail")
            log.info("draining Envoy", delay=times.delay, at_most=times.most)
            await asyncio.sleep(times.delay)
            await _post(session, "/drain_listeners")
            async with asyncio.timeout(times.most):
                while active := await _active(session):  # noqa: ASYNC110 (another process counts)
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            log.warning("requests are cut: the time to drain is over", requests=active)
            return False
        except aiohttp.ClientError as error:
            log.info("no Envoy to drain", error=str(error))
    return True


async def _post(session: aiohttp.ClientSession, path: str) -> None:
    async with session.post(path, raise_for_status=True):
        pass


async def _active(session: aiohttp.ClientSession) -> int:
    query = {"filter": f"^{re.escape(_ACTIVE)}$"}
    async with session.get("/stats", params=query, raise_for_status=True) as response:
        found = re.search(r": (\d+)", await response.text())
    return int(found.group(1)) if found else 0
