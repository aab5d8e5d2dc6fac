"""Streams of completions from an OpenAI server that is started for it, and when their tokens came."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import aiohttp

_START_SECONDS = 120
LONG = "The quick brown fox jumps over the lazy dog. " * 200  # 2,000 tokens and a few


@dataclass
class Seen:
    """What came of some streams. `began`, `ended`: seconds of one clock; `times`: each stream's chunks."""

    began: float
    ended: float = 0.0
    tokens: int = 0
    times: list[list[float]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Tokens per second of all streams together."""
        return self.tokens / (self.ended - self.began)

    def gaps(self) -> list[float]:
        """Seconds between two chunks of one stream."""
        return [after - before for times in self.times for before, after in pairwise(times)]

    def __str__(self) -> str:
        firsts = [times[0] - self.began for times in self.times if times]
        gaps = sorted(self.gaps())
        if not gaps:
            return f"{self.rate:8.1f} tokens/s"
        return (
            f"{self.rate:8.1f} tokens/s; first token p50 {statistics.median(firsts):.2f} s, last "
            f"{max(firsts):.2f} s; between tokens p50 {statistics.median(gaps) * 1000:.0f} ms, "
            f"p99 {gaps[int(len(gaps) * 0.99)] * 1000:.0f} ms"
        )


@dataclass
class Streams:
    """A server, and what every request to its completions says besides the prompt."""

    url: str
    ready: str
    body: dict[str, Any]
    http: aiohttp.ClientSession | None = None

    async def run(self, prompts: Sequence[str], seconds: float, most: int | None = None) -> Seen:
        """All prompts at once, cut off after so many seconds. `most`: tokens of each."""
        seen = Seen(time.monotonic())
        seen.times = [[] for _ in prompts]
        tasks = [
            asyncio.create_task(self._one(prompt, seen, times, most))
            for prompt, times in zip(prompts, seen.times, strict=True)
        ]
        done, left = await asyncio.wait(tasks, timeout=seconds)
        seen.ended = time.monotonic()
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for task in done:
            task.result()
        return seen

    async def _one(self, prompt: str, seen: Seen, times: list[float], most: int | None) -> None:
        assert self.http is not None
        body = {**self.body, "prompt": prompt, "stream": True}
        if most is not None:
            body["max_tokens"] = most
        counted = 0
        async with self.http.post(f"{self.url}/v1/completions", json=body) as response:
            response.raise_for_status()
            async for line in response.content:
                if not line.startswith(b"data: {"):
                    continue
                chunk = json.loads(line[6:])
                if "error" in chunk:
                    raise RuntimeError(line.decode())
                if any(choice.get("text") for choice in chunk["choices"]):
                    times.append(time.monotonic())
                    seen.tokens += 1
                    counted += 1
                if chunk.get("usage"):  # at the end; a chunk can hold no token's text, or that of several
                    seen.tokens += chunk["usage"]["completion_tokens"] - counted


def measure(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@contextlib.asynccontextmanager
async def served(server: Callable[[int], tuple[list[str], Streams]]) -> AsyncIterator[Streams]:
    """Starts it on a free port and waits until it is ready; ends it afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command, streams = server(port)
    with tempfile.TemporaryFile() as log:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)  # noqa: ASYNC220 - once
        try:
            timeout = aiohttp.ClientTimeout(total=None)
            async with aiohttp.ClientSession(timeout=timeout) as streams.http:
                await _ready(process, streams)
                yield streams
        except BaseException:
            log.seek(0)
            print(log.read()[-3000:].decode(errors="replace"))
            raise
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _ready(process: subprocess.Popen[bytes], streams: Streams) -> None:
    assert streams.http is not None
    async with asyncio.timeout(_START_SECONDS):
        while process.poll() is None:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with streams.http.get(streams.url + streams.ready) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.2)
    raise RuntimeError(f"the server ended with {process.returncode}")


async def longest_gap(streams: Streams, prompts: Sequence[str]) -> str:
    """How long eight running streams wait while a long prompt comes in beside them."""
    running = asyncio.create_task(streams.run(prompts[:8], 60))
    await asyncio.sleep(2)
    long = await streams.run([LONG], 60, most=1)
    gaps = sorted((await running).gaps())
    return (
        f"a prompt of 2,000 tokens beside 8 running streams: its first token after "
        f"{long.ended - long.began:.1f} s; between their tokens p50 {statistics.median(gaps) * 1000:.0f} ms, "
        f"at most {gaps[-1] * 1000:.0f} ms"
    )
