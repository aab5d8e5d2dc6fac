"""Whether 1,000 readers that are too slow disturb 10 that are not, what the server holds for each of them,
and how they end.

Every stream gets a token at the same ticks. The model's name is long, so that a chunk has a kilobyte and the
buffers on the way to a slow reader are full in seconds. The 10 are measured three times: alone, beside 1,000
that read everything (what so many streams cost, however they read), and beside 1,000 that take a fortieth of
what they are given. Then the slow ones are left to the deadline of a write.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
import urllib.request
from pathlib import Path

from bench.runtime.figures import percentile
from bench.runtime.servers import Server
from bench.runtime.streams import Seen, Stream, request

TICK = 0.1
MODEL = "m" * 900
WRITE_SECONDS = 30
FLAGS = [f"--echo_token_seconds={TICK}", f"--write_timeout_seconds={WRITE_SECONDS}"]
_PATH = "/v1/completions"
_FAST, _SLOW = 10, 1000
_TOKENS = 120  # of each fast stream
_SIP = 256  # bytes that a slow reader takes each second, of 11,000 that it should
_FILLING = 16  # seconds until no write to a slow reader gets through
_END = 60  # seconds within which all slow ones must have been ended
_ENDED = re.compile(r'^stoker_runtime_http_requests_total\{.*status="499"\} (\S+)', re.MULTILINE)
_RUNNING = re.compile(r"^stoker_runtime_requests_in_flight (\S+)", re.MULTILINE)


async def slow_readers(server: Server) -> str:
    """Measures; a paragraph of figures."""
    alone = await _fast(server)
    crowd = [await _connected(server) for _ in range(_SLOW)]
    for stream in crowd:
        stream.ask(_long())
    await asyncio.sleep(2)
    beside_readers = await _fast(server)
    for stream in crowd:
        stream.done.cancel()
        assert stream.transport is not None
        stream.transport.abort()
    await _until_running(server, 0)

    before, kernel = server.memory(), _kernel_memory()
    slow = [_slow_one(server) for _ in range(_SLOW)]
    sipping = asyncio.create_task(_sip(slow))
    await asyncio.sleep(_FILLING)
    beside_slow = await _fast(server)
    held, in_kernel = server.memory() - before, _kernel_memory() - kernel
    left = _metric(server, _ENDED)
    began = time.monotonic()
    await _until_running(server, 0)
    seconds = time.monotonic() - began
    ended = _metric(server, _ENDED) - left
    sipping.cancel()
    for reader in slow:
        reader.close()
    lines = [
        f"{_FAST} streams with a token every {TICK * 1000:g} ms:",
        f"  alone: {_spread(alone)}",
        f"  beside {_SLOW} that read everything: {_spread(beside_readers)}",
        f"  beside {_SLOW} slow readers: {_spread(beside_slow)}",
        f"a slow reader holds {held / _SLOW / 1024:.0f} KiB of the server and "
        f"{in_kernel / _SLOW / 1024:.0f} KiB of the kernel's socket buffers (both ends)",
        f"{ended:.0f} of {_SLOW} were ended and counted (499), the last {seconds:.0f} s after that",
    ]
    return "\n".join(lines)


def _long() -> bytes:
    return request(_PATH, MODEL, "x", 30_000)


async def _connected(server: Server) -> Stream:
    _, stream = await asyncio.get_running_loop().create_connection(
        lambda: Stream(0), "127.0.0.1", server.port
    )
    return stream


async def _fast(server: Server) -> list[Seen]:
    streams = [await _connected(server) for _ in range(_FAST)]
    for stream in streams:
        stream.ask(request(_PATH, MODEL, "x", _TOKENS))
    seen = list(await asyncio.gather(*(stream.done for stream in streams)))
    for stream in streams:
        assert stream.transport is not None
        stream.transport.abort()
    return seen


def _spread(seen: list[Seen]) -> str:
    gaps = [gap for each in seen for gap in each.gaps]
    rate = sum(each.tokens for each in seen) / max(each.last for each in seen)
    return (
        f"between chunks p50 {percentile(gaps, 0.5) * 1e3:.1f}, p99 {percentile(gaps, 0.99) * 1e3:.1f} ms; "
        f"{rate:.1f} tokens/s; first token p50 {percentile([each.first for each in seen], 0.5) * 1e3:.0f} ms"
    )


def _slow_one(server: Server) -> socket.socket:
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect(("127.0.0.1", server.port))
    reader.sendall(_long())
    reader.setblocking(False)
    return reader


async def _sip(readers: list[socket.socket]) -> None:
    at_once = 10
    while True:
        for at in range(0, len(readers), at_once):
            for reader in readers[at : at + at_once]:
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    reader.recv(_SIP)
            await asyncio.sleep(at_once / len(readers))


def _kernel_memory() -> int:
    """Bytes of all TCP sockets' buffers on this machine."""
    found = re.search(r"^TCP: .* mem (\d+)", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
    return int(found[1]) * 4096 if found else 0


async def _until_running(server: Server, count: int) -> None:
    end = time.monotonic() + _END
    while (running := _metric(server, _RUNNING)) > count:
        assert time.monotonic() < end, f"{running:.0f} streams are still held"
        await asyncio.sleep(0.5)


def _metric(server: Server, pattern: re.Pattern[str]) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
        return sum(float(value) for value in pattern.findall(answer.read().decode()))
