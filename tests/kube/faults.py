"""A server that does what a real API server will not do on demand, alone or in front of a real one.

Each request is answered by the first reply planned for it (`FaultServer.plan`); one that nothing is planned
for is passed on to the real server, or refused with 501 where there is none.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from stoker.kube.client import Client, ConnectionConfig, connect

Reply = Callable[["FaultServer", web.Request, bytes], Awaitable[web.StreamResponse]]
Lines = Iterable[dict[str, Any] | bytes]


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") == "true"


@dataclass
class _Plan:
    method: str
    part: str
    watch: bool | None
    replies: deque[Reply]
    forever: bool

    def take(self, request: web.Request) -> Reply | None:
        watch = request.query.get("watch") == "true"
        fits = request.method == self.method and self.part in request.path
        if not self.replies or not fits or self.watch not in {None, watch}:
            return None
        return self.replies[0] if self.forever else self.replies.popleft()


@dataclass
class FaultServer:
    """See the module. `upstream`: kubeconfig of the real server."""

    upstream: Path | None = None
    url: str = ""
    requests: list[Seen] = field(default_factory=list)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    _plans: list[_Plan] = field(default_factory=list)
    _session: aiohttp.ClientSession | None = None
    _target: str = ""

    def plan(
        self, method: str, part: str, *replies: Reply, watch: bool | None = None, forever: bool = False
    ) -> None:
        """Answer the next requests of that method, with `part` in their path, so; the last one `forever`."""
        self._plans.append(_Plan(method, part, watch, deque(replies), forever))

    def forget_plans(self) -> None:
        self._plans.clear()

    def seen(self, method: str, *, watch: bool = False) -> list[Seen]:
        return [request for request in self.requests if (request.method, request.is_watch) == (method, watch)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FaultServer]:
        app = web.Application(client_max_size=2**25)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with self._upstream_session():
            try:
                yield self
            finally:
                self.closing.set()
                await runner.cleanup()

    @asynccontextmanager
    async def client(self, folder: Path, **config: Any) -> AsyncIterator[Client]:
        """A client of this server."""
        path = folder / "faulty.kubeconfig"
        path.write_text(json.dumps(kubeconfig(self.url)))
        async with connect(ConnectionConfig(kubeconfig=str(path), **config)) as client:
            yield client

    async def pass_on(self, request: web.Request, body: bytes) -> aiohttp.ClientResponse:
        assert self._session is not None, f"nothing is planned for {request.method} {request.path_qs}"
        headers = {
            name: request.headers[name] for name in ("Accept", "Content-Type") if name in request.headers
        }
        return await self._session.request(
            request.method, self._target + request.path_qs, data=body or None, headers=headers
        )

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(
            Seen(request.method, request.path, dict(request.query), dict(request.headers), body)
        )
        for plan in self._plans:
            if (reply := plan.take(request)) is not None:
                return await reply(self, request, body)
        if self._session is None:
            return web.json_response({"message": "nothing is planned for this"}, status=501)
        return await through()(self, request, body)

    @asynccontextmanager
    async def _upstream_session(self) -> AsyncIterator[None]:
        if self.upstream is None:
            yield
            return
        config = yaml.safe_load(self.upstream.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._target = cluster["server"]
        context = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
        pair = self.upstream.with_suffix(".pair.pem")
        pair.write_bytes(
            base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"])
        )
        context.load_cert_chain(pair)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context), read_bufsize=2**22
        ) as self._session:
            yield


def kubeconfig(url: str, **user: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": url}}],
        "users": [{"name": "it", "user": user}],
    }


def answer(status: int, body: Any = "", **headers: str) -> Reply:
    """That reply; a `body` of str is sent as a proxy's HTML page, anything else as JSON."""

    async def reply(_: FaultServer, __: web.Request, ___: bytes) -> web.StreamResponse:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, str):
            return web.Response(status=status, text=body, content_type="text/html", headers=names)
        return web.json_response(body, status=status, headers=names)

    return reply


def refuse(status: int, reason: str, message: str = "", **headers: str) -> Reply:
    """A Status, as the API server refuses."""
    body = {"kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": message}
    return answer(status, body, **headers)


def drop(*, after_commit: bool = False) -> Reply:
    """Cut the connection instead of replying; `after_commit`: once the real server has done it."""

    async def reply(server: FaultServer, request: web.Request, body: bytes) -> web.StreamResponse:
        if after_commit:
            async with await server.pass_on(request, body) as real:
                assert real.status < 300, await real.text()
                await real.read()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return reply


def hang() -> Reply:
    """Never answer."""

    async def reply(server: FaultServer, _: web.Request, __: bytes) -> web.StreamResponse:
        await server.closing.wait()
        return web.Response(status=503)

    return reply


def stream(lines: Lines, *, chunk: int | None = None, end: str = "close") -> Reply:
    """A watch with these lines (bytes as they are), cut into chunks of that size.

    `end`: "close" as the server does, "abort" the connection, or "hang": half-open.
    """

    async def reply(server: FaultServer, request: web.Request, _: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        data = b"".join(
            line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines
        )
        size = chunk or max(len(data), 1)
        for start in range(0, len(data), size):
            await response.write(data[start : start + size])
        if end == "hang":
            await server.closing.wait()
        if end == "abort":
            assert request.transport is not None
            request.transport.abort()
        return response

    return reply


def through(cut_after: int | None = None, chunk: int | None = None) -> Reply:
    """Pass on to the real server; abort a stream after so many lines, or pass it on in such chunks."""

    async def reply(server: FaultServer, request: web.Request, body: bytes) -> web.StreamResponse:
        async with await server.pass_on(request, body) as real:
            response = web.StreamResponse(status=real.status)
            response.content_type = real.content_type
            await response.prepare(request)
            lines = 0
            async for data in real.content.iter_any():
                size = chunk or len(data)
                for start in range(0, len(data), size):
                    await response.write(data[start : start + size])
                lines += data.count(b"\n")
                if cut_after is not None and lines >= cut_after:
                    assert request.transport is not None
                    request.transport.abort()
                    break
            return response

    return reply


def listed(*objects: dict[str, Any], version: str, token: str = "") -> Reply:
    """A page of a list."""
    return answer(200, {"metadata": {"resourceVersion": version, "continue": token}, "items": list(objects)})


def thing(name: str, version: int, uid: str = "", namespace: str = "team", **fields: Any) -> dict[str, Any]:
    """A ConfigMap as the server would store it."""
    metadata = {"name": name, "namespace": namespace, "resourceVersion": str(version)}
    metadata["uid"] = uid or f"uid-{name}"
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **fields}


def event(kind: str, obj: dict[str, Any]) -> dict[str, Any]:
    """A line of a watch."""
    return {"type": kind, "object": obj}


def bookmark(version: int) -> dict[str, Any]:
    return event("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})


GONE = event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
