"""`Expect`: a body is asked for once its request is let in, and nothing else can be expected."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from .scripted import ScriptedEngine
from .serving import Server, serve
from .test_limits import raw

BODY = b'{"model":"m","prompt":"x"}'
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def head(path: str, *lines: str, method: str = "POST", length: int = len(BODY)) -> bytes:
    return "\r\n".join(
        [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {length}", *lines, "", ""]
    ).encode()


@contextlib.asynccontextmanager
async def connected(server: Server) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(5):
            yield reader, writer
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/completions"), ("PUT", "/v1/completions"), ("GET", "/no"), ("GET", "/live")],
)
@pytest.mark.parametrize("value", ["gold", "100-continue, gold"])
async def test_what_is_not_known(echo: Server, method: str, path: str, value: str) -> None:
    answer = await raw(
        echo, head(path, f"Expect: {value}", "x-request-id: mine", "Connection: close", method=method) + BODY
    )
    first, rest = answer.split(b"\r\n\r\n", 1)
    assert first.split()[1] == b"417"
    assert b"x-request-id: mine" in first
    assert set(json.loads(rest)["error"]) == {"message", "type", "param", "code"}


async def test_a_body_is_asked_for_once_and_the_connection_stays(echo: Server) -> None:
    async with connected(echo) as (reader, writer):
        for _ in range(2):
            writer.write(head("/v1/completions", "Expect: 100-Continue"))
            assert await reader.readexactly(len(CONTINUE)) == CONTINUE
            writer.write(BODY)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 ")
            length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            assert json.loads(await reader.readexactly(length))["object"] == "text_completion"


@pytest.mark.parametrize(
    ("path", "lines", "length", "status"),
    [
        ("/v1/completions", ("Content-Type: text/plain",), len(BODY), 415),
        ("/v1/completions", (), 10**9, 413),
        ("/v1/embeddings", (), len(BODY), 400),
        ("/nowhere", (), len(BODY), 404),
    ],
)
async def test_a_refused_body_is_not_asked_for(
    echo: Server, path: str, lines: tuple[str, ...], length: int, status: int
) -> None:
    """The connection says that it ends: whether the body still comes cannot be known."""
    async with connected(echo) as (reader, writer):
        writer.write(head(path, "Expect: 100-continue", *lines, length=length))
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert b"connection: close" in answer.lower()


async def test_no_room_is_said_before_a_body_is_asked_for() -> None:
    engine = ScriptedEngine("y")
    engine.hold.clear()
    async with serve("--max_concurrent_sequences=1", engine=engine) as server:
        asking = asyncio.create_task(server.post("/v1/completions", json.loads(BODY)))
        async with asyncio.timeout(5):
            while not engine.running:
                await asyncio.sleep(0.005)
        async with connected(server) as (reader, writer):
            writer.write(head("/v1/completions", "Expect: 100-continue"))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 429 ")
        engine.hold.set()
        assert (await asking)[0] == 200


async def test_who_expects_something_without_a_body_keeps_the_connection(echo: Server) -> None:
    async with connected(echo) as (reader, writer):
        writer.write(b"GET /live HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n")
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" not in answer.lower()
