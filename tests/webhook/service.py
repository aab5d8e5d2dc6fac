"""What a Service is to API servers: one address in front of the replicas that are ready."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Service:
    """Leads each new connection to one of `ports`, in turn. Those that are open stay where they are."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.port = 0
        self.refused = 0
        self._turn = itertools.count()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._lead, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            port = self.ports[next(self._turn) % len(self.ports)]
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        except (OSError, ZeroDivisionError):
            self.refused += 1
            writer.transport.abort()
            return
        await asyncio.gather(_carry(reader, inner_writer), _carry(inner_reader, writer))


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.close()
