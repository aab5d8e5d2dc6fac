"""The runtime's front end alone: the echo engine gives every stream a token at the ticks of one clock, so
that what is measured is the way of tokens from an engine to sockets, on one core.

Three questions: what a chunk costs (and so how many a core can write), what a stream costs that waits for its
next token, and whether 1,000 readers that are too slow disturb 10 that are not.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path

from bench.runtime import servers
from bench.runtime.figures import percentile
from bench.runtime.streams import Stream, request, together

_PATH = "/v1/completions"
_WIDE = [
    "--backend=echo", "--max_connections=20000", "--max_concurrent_sequences=20000", "--max_num_seqs=20000",
    "--max_waiting_tokens=64M", "--queue_seconds=0", "--request_seconds=0", "--write_timeout_seconds=0",
    "--disable_log_requests",
]  # fmt: skip
_IDLE = 5000
_PAUSE = 8
_SLOW = 1000
_TICK = 0.02
_SIP = 256  # bytes that a slow reader takes each second, of some 11,000 that it should


def main() -> int:
    """Runs all three, each on a server of its own, and prints what it found."""
    for streams in (32, 500):
        for hold in (0.0, 0.015):
            flags = [f"--hold_seconds={hold}"]
            _on_a_server(flags, lambda server, hold=hold, streams=streams: chunks(server, streams, hold))  # type: ignore[misc]
    _on_a_server([f"--echo_token_seconds={_PAUSE}"], idle)
    _on_a_server([f"--echo_token_seconds={_TICK}"], slow_readers)
    return 0


def _on_a_server(flags: list[str], measure: Callable[[servers.Server], Coroutine[None, None, str]]) -> None:
    with tempfile.TemporaryDirectory() as home:
        server = servers.ours("echo", Path(home), [*_WIDE, *flags])
        try:
            server.until_ready("/ready", 30)
            print(asyncio.run(measure(server)), flush=True)
        finally:
            server.stop()


async def chunks(server: servers.Server, streams: int, hold: float) -> str:
    """Tokens as fast as they go."""
    tokens = 160_000 // streams
    await together(server.port, [request(_PATH, servers.MODEL, "warm", 500)] * streams)
    before = server.cpu()
    seen, wall = await together(server.port, [request(_PATH, servers.MODEL, "abcd", tokens)] * streams)
    cpu = server.cpu() - before
    total, made = sum(each.tokens for each in seen), sum(each.chunks for each in seen)
    return (
        f"{streams} streams, held {hold * 1000:g} ms: {total / wall:.0f} tokens/s in "
        f"{made / wall:.0f} chunks/s; "
        f"CPU {cpu / total * 1e6:.1f} us per token, {cpu / made * 1e6:.1f} us per chunk: a core carries "
        f"{total / cpu:.0f} tokens/s"
    )


async def idle(server: servers.Server) -> str:
    """Streams that mostly wait for their next token."""
    loop = asyncio.get_running_loop()
    before, cpu = server.memory(), server.cpu()
    asked = request(_PATH, servers.MODEL, "x", 1000)
    streams: list[Stream] = []
    for _ in range(_IDLE):
        _, stream = await loop.create_connection(lambda: Stream(0), "127.0.0.1", server.port)
        stream.ask(asked)
        streams.append(stream)
    await asyncio.sleep(_PAUSE)
    assert all(stream.seen.chunks for stream in streams)
    begun = server.cpu() - cpu
    cpu = server.cpu()
    await asyncio.sleep(_PAUSE)  # with one tick in it
    spent = server.cpu() - cpu
    memory = server.memory() - before
    for stream in streams:
        assert stream.transport is not None
        assert not stream.transport.is_closing()
        stream.done.cancel()
        stream.transport.abort()
    return (
        f"{_IDLE} streams held, a token every {_PAUSE} s: {memory / _IDLE / 1024:.1f} KiB each, "
        f"{begun / _IDLE * 1e6:.0f} us of CPU to begin one, {spent / _PAUSE * 100:.1f} % of a core meanwhile"
    )


async def slow_readers(server: servers.Server) -> str:
    """The pace of 10 streams, alone and beside 1,000 that take far less than they are given."""

    async def fast() -> list[float]:
        asked = [request(_PATH, servers.MODEL, "x", 500)] * 10
        seen, _ = await together(server.port, asked)
        return [gap for each in seen for gap in each.gaps]

    alone = await fast()
    readers = []
    for _ in range(_SLOW):
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", server.port))
        reader.sendall(request(_PATH, servers.MODEL, "x", 30_000))
        reader.setblocking(False)
        readers.append(reader)
    sipping = asyncio.create_task(_sip(readers))
    memory = server.memory()
    await asyncio.sleep(20)  # until buffers on the way are full
    cpu = server.cpu()
    beside = await fast()
    spent = server.cpu() - cpu
    grown = server.memory() - memory
    sipping.cancel()
    for reader in readers:
        reader.close()
    return (
        f"10 streams with a token every {_TICK * 1000:g} ms, between chunks: alone {_spread(alone)}; beside "
        f"{_SLOW} slow readers {_spread(beside)} (the server at {spent / 10 * 100:.0f} % of a core, "
        f"{grown / _SLOW / 1024:.0f} KiB for each slow one)"
    )


def _spread(gaps: list[float]) -> str:
    return f"p50 {percentile(gaps, 0.5) * 1e3:.1f}, p99 {percentile(gaps, 0.99) * 1e3:.1f} ms"


async def _sip(readers: list[socket.socket]) -> None:
    while True:
        for at in range(0, len(readers), 10):
            for reader in readers[at : at + 10]:
                try:
                    reader.recv(_SIP)
                except BlockingIOError:
                    continue
            await asyncio.sleep(10 / len(readers))
