"""The runtime's front end alone: the echo engine gives every stream a token at the ticks of one clock, so
that what is measured is the way of tokens from an engine to sockets, on one core.

Three questions: what a chunk costs (and so how many a core can write), what a stream costs that waits for its
next token, and whether 1,000 readers that are too slow disturb 10 that are not.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path

from bench.runtime import servers, slow_readers
from bench.runtime.streams import Stream, request, together

_PATH = "/v1/completions"
_WIDE = [
    "--backend=echo", "--max_connections=20000", "--max_concurrent_sequences=20000", "--max_num_seqs=20000",
    "--max_waiting_tokens=64M", "--queue_seconds=0", "--request_seconds=0", "--disable_log_requests",
]  # fmt: skip
PARTS = ("chunks", "idle", "slow")
_IDLE = 5000
_PAUSE = 8


def main(parts: Sequence[str]) -> int:
    """Runs the parts, each on a server of its own, and prints what it found."""
    if "chunks" in parts:
        for streams in (32, 500):
            for hold in (0.0, 0.015):
                _on_a_server([f"--hold_seconds={hold}"], partial(chunks, streams=streams, hold=hold))
    if "idle" in parts:
        _on_a_server([f"--echo_token_seconds={_PAUSE}"], idle)
    if "slow" in parts:
        flags = [f"--served_model_name={slow_readers.MODEL}", *slow_readers.FLAGS]
        _on_a_server(flags, slow_readers.slow_readers)
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
