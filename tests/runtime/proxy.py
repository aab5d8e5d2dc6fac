"""A proxy that cuts connections in the middle of large answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web


@dataclass
class CuttingProxy:
    """Forwards GETs. The first `times` answers longer than `cut_after` bytes end there."""

    upstream: str
    cut_after: int
    times: int
    url: str = ""
    cuts: int = 0
    ranges: list[tuple[str, str | None]] = field(default_factory=list)

    async def forward(self, request: web.Request) -> web.StreamResponse:
        self.ranges.append((request.path, request.headers.get("Range")))
        # The Host of the request is signed: it goes on as it came.
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.get(f"{self.upstream}{request.raw_path}", headers=request.headers) as upstream,
        ):
            kept = ("Content-Length", "Content-Range", "Content-Type", "ETag", "Last-Modified")
            headers = {name: upstream.headers[name] for name in kept if name in upstream.headers}
            answer = web.StreamResponse(status=upstream.status, headers=headers)
            await answer.prepare(request)
            data = await upstream.read()
            if len(data) > self.cut_after and self.cuts < self.times:
                self.cuts += 1
                await answer.write(data[: self.cut_after])
                if request.transport is not None:
                    request.transport.close()
                return answer
            await answer.write(data)
            return answer


@asynccontextmanager
async def cutting_proxy(upstream: str, *, cut_after: int, times: int) -> AsyncIterator[CuttingProxy]:
    proxy, app = CuttingProxy(upstream, cut_after, times), web.Application()
    app.router.add_get("/{path:.*}", proxy.forward)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield proxy
    finally:
        await runner.cleanup()
