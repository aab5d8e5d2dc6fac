"""A hub on this machine that speaks the real one's protocol, and breaks where a test says."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

COMMIT = "a" * 40


def blob(data: bytes) -> str:
    """What git calls these bytes."""
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


@dataclass
class BreakingHub:
    """Has org/model. `faults`: what happens to the GETs of weights, in their order."""

    files: dict[str, bytes]
    faults: list[str] = field(default_factory=list)
    ranges: list[tuple[str, str | None]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    token: str | None = None  # that is needed
    url: str = ""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def info(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization")
        self.tokens.add(given)
        if self.token and given != f"Bearer {self.token}":
            headers = {"X-Error-Message": "Invalid credentials in Authorization header"}
            return web.json_response({}, status=401, headers=headers)
        return web.json_response({"id": "org/model", "sha": COMMIT, "siblings": []})

    async def tree(self, request: web.Request) -> web.Response:
        return web.json_response([self._entry(path, data) for path, data in self.files.items()])

    def _entry(self, path: str, data: bytes) -> dict[str, object]:
        made: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": blob(data)}
        if path.endswith(".safetensors"):
            digest = hashlib.sha256(data).hexdigest()
            made["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 130}
        return made

    async def resolve(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        data = self.files.get(path)
        if data is None:
            return web.Response(status=404)
        asked = request.headers.get("Range")
        self.ranges.append((path, asked))
        fault = self.faults.pop(0) if path.endswith(".safetensors") and self.faults else ""
        if fault.isdigit():
            return web.Response(status=int(fault), headers={"Retry-After": "0"})
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked or "")
        if found is None or fault == "no ranges":
            return await self._send(request, data, 200, {}, fault)
        start, end = int(found[1]), int(found[2]) + 1
        told = {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
        return await self._send(request, data[start:end], 206, told, fault)

    async def _send(
        self, request: web.Request, data: bytes, status: int, headers: dict[str, str], fault: str
    ) -> web.StreamResponse:
        answer = web.StreamResponse(status=status, headers=headers)
        answer.content_length = len(data) + (1000 if fault == "lies" else 0)
        await answer.prepare(request)
        half = len(data) // 2
        await answer.write(data[:half])
        if fault in ("cut", "hang"):
            self.reached.set()
            if fault == "hang":
                await self.go_on.wait()
            if request.transport is not None:
                request.transport.close()
            return answer
        await answer.write(data[half:])
        if fault == "lies" and request.transport is not None:
            request.transport.close()
        return answer


@asynccontextmanager
async def breaking_hub(files: dict[str, bytes], *faults: str) -> AsyncIterator[BreakingHub]:
    hub, app = BreakingHub(files, list(faults)), web.Application()
    app.router.add_get("/api/models/{org}/{name}/revision/{revision}", hub.info)
    app.router.add_get("/api/models/{org}/{name}/tree/{revision}", hub.tree)
    app.router.add_get("/{org}/{name}/resolve/{revision}/{path:.+}", hub.resolve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hub.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield hub
    finally:
        hub.go_on.set()
        await runner.cleanup()
