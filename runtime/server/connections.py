"""Connections: how many there may be, how long a head may take, what those hear who speak no HTTP."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections import Counter
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from runtime.openai.encoding import encode
from runtime.openai.problem import ApiProblem
from runtime.server import expecting
from runtime.server.service import Service

_CUT = 2  # times the limit of connections: beyond it they are closed without a word
# The kernel would take megabytes for a reader that takes nothing: memory that counts as the container's, and
# for so long the reader would not be noticed.
_UNSENT = 32 * 1024


class Runner(web.AppRunner):
    """aiohttp's runner over connections that are bounded."""

    def __init__(self, app: web.Application, service: Service, **options: Any) -> None:
        """`options`: AppRunner's own."""
        bounds = service.settings.bounds
        super().__init__(
            app,
            handle_signals=False,
            handler_cancellation=True,  # else a client that left keeps its generation running
            lingering_time=1.0,  # for what a client still sends of a body that was refused
            access_log=None,
            keepalive_timeout=service.settings.timeout_keep_alive,
            max_line_size=bounds.max_header_line_bytes,
            max_field_size=bounds.max_header_line_bytes,
            max_headers=bounds.max_headers,
            **options,
        )
        self._service = service

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made, self._service, **self._kwargs)


class _Server(web.Server):
    def __init__(self, made: web.Server, service: Service, **options: Any) -> None:
        super().__init__(
            made.request_handler, request_factory=expecting.hidden(made.request_factory), **options
        )
        self.service = service
        self.addresses: Counter[str] = Counter()

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=asyncio.get_running_loop(), **self._kwargs)


class Connection(RequestHandler):
    """One connection. `crowded`: it is one too many; its request is answered 503."""

    __slots__ = ("_address", "_server", "crowded")

    def __init__(self, server: _Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._address = ""
        self.crowded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Counts the connection; too many are cut at once, somewhat too many at their first request."""
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        self._server.addresses[self._address] += 1
        bounds = self._server.service.settings.bounds
        count, mine = len(self._server.connections), self._server.addresses[self._address]
        most, most_mine = bounds.max_connections, bounds.max_connections_per_address
        self.crowded = count > most or bool(most_mine and mine > most_mine)
        if count > _CUT * most:
            self.force_close()
        elif bounds.head_seconds:
            asyncio.get_running_loop().call_later(bounds.head_seconds, self._head_is_due)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Counts it out."""
        self._server.addresses[self._address] -= 1
        if not self._server.addresses[self._address]:
            del self._server.addresses[self._address]
        super().connection_lost(exc)

    def _head_is_due(self) -> None:
        if self._request_count == 0 and self.transport is not None:
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP, or too much of it, is answered in the one error shape. Never quotes it."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was already begun")
        if isinstance(exc, LineTooLong) or "Too many headers" in str(exc):
            bounds = self._server.service.settings.bounds
            problem = ApiProblem(
                431,
                f"The request's head has more than {bounds.max_headers} lines, or one of more than "
                f"{bounds.max_header_line_bytes} bytes.",
            )
        elif status < 500:
            problem = ApiProblem(400, "This is not an HTTP request.")
        else:
            problem = ApiProblem(500, "Internal error.", code="internal_error")
        self._server.service.metrics.requests.labels("unknown", str(problem.status)).inc()
        headers = {"Content-Type": "application/json", "x-request-id": uuid.uuid4().hex, "Server": "stoker"}
        response = web.Response(status=problem.status, body=encode(problem.document()), headers=headers)
        response.force_close()
        return response
