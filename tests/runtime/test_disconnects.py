"""Clients that leave, at any moment: their work is freed, and nothing is left behind.

STOKER_DISCONNECTS sets how many leave (500 in `make test`).
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import socket
import struct
from pathlib import Path

import pytest

from runtime.engines.base import ModelFiles
from runtime.engines.transformers.engine import TransformersEngine

from .scripted import ScriptedEngine
from .serving import Server, serve
from .tiny import save_tiny_llama

COUNT = int(os.environ.get("STOKER_DISCONNECTS", "500"))
AT_ONCE = 50


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def request(chance: random.Random, model: str = "m") -> bytes:
    stream = chance.random() < 0.6
    body: dict[str, object] = {"model": model, "stream": stream, "max_tokens": chance.choice([1, 20, 2000]),
                               "ignore_eos": True, "n": chance.choice([1, 1, 3])}  # fmt: skip
    if chance.random() < 0.5:
        path = "chat/completions"
        body["messages"] = [{"role": "user", "content": "x" * chance.choice([1, 50, 6000])}]
    else:
        path = "completions"
        body["prompt"] = ["x" * 40] * chance.choice([1, 3])
    data = json.dumps(body).encode()
    head = f"POST /v1/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


async def leave(server: Server, chance: random.Random) -> None:
    """Sends some of a request, reads some of its answer, and goes: in order or with a reset."""
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        whole = request(chance)
        phase = chance.random()
        sent = whole if phase > 0.3 else whole[: chance.randrange(len(whole))]
        writer.write(sent)
        await writer.drain()
        if phase > 0.5:
            await asyncio.sleep(chance.random() * 0.05)
        if phase > 0.7:
            async with asyncio.timeout(1):
                await reader.read(chance.randrange(1, 2000))
    except (TimeoutError, ConnectionError):
        pass
    finally:
        if chance.random() < 0.5:
            linger = struct.pack("ii", 1, 0)  # a reset instead of an orderly end
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()


async def settled(server: Server, tasks: int, files: int) -> None:
    """Waits until everything is back where it was."""
    service = server.service
    async with asyncio.timeout(20):
        while True:
            gc.collect()
            left = (
                server.engine.load().running + server.engine.load().waiting,
                service.admission.sequences,
                service.admission.waiting_tokens,
                len(service.in_flight),
                len(asyncio.all_tasks()) - tasks,
                descriptors() - files,
            )
            if max(left) <= 0:
                return
            await asyncio.sleep(0.05)


@pytest.mark.timeout(600)
async def test_a_storm() -> None:
    chance = random.Random(7)
    flags = ("--echo_token_seconds=0.002", "--max_num_seqs=64", "--max_concurrent_sequences=200")
    async with serve(*flags) as server:
        assert (await server.post("/v1/completions", {"model": "m", "prompt": "x"}))[0] == 200
        await server.http.close()
        await asyncio.sleep(0.1)
        tasks, files = len(asyncio.all_tasks()), descriptors()
        for start in range(0, COUNT, AT_ONCE):
            group = range(min(AT_ONCE, COUNT - start))
            await asyncio.gather(*(leave(server, random.Random(chance.random())) for _ in group))
        await settled(server, tasks, files)
        metrics = server.service.metrics.render().decode()
        assert 'status="500"' not in metrics
        assert 'stoker_runtime_client_disconnects_total{route="/v1/completions"}' in metrics
        answer = await server.openai.completions.create(model="m", prompt="still here", max_tokens=50)
        assert answer.choices[0].text == "still here"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("begun", [False, True])
async def test_one_that_leaves_is_freed_at_once(stream: bool, begun: bool) -> None:
    """Queued or running, streamed or not; counted as 499."""
    engine = ScriptedEngine("a long answer")
    (engine.pause if begun else engine.hold).clear()
    async with serve(engine=engine) as server:
        body = {"model": "m", "prompt": "x", "stream": stream, "n": 2}
        asking = asyncio.create_task(server.post("/v1/completions", body))
        async with asyncio.timeout(5):
            while engine.running < 2:
                await asyncio.sleep(0.005)
        asking.cancel()
        async with asyncio.timeout(20):  # held as it is, it would not end by itself
            while engine.running or server.service.admission.sequences or len(server.service.in_flight):
                await asyncio.sleep(0.005)
        metrics = server.service.metrics.render().decode()
        assert 'stoker_runtime_http_requests_total{route="/v1/completions",status="499"} 1.0' in metrics


@pytest.mark.timeout(120)
async def test_a_storm_on_a_model(tmp_path: Path) -> None:
    """Those that leave and those that stay share calls of the model; rows come and go in its cache."""
    chance = random.Random(3)
    folder = save_tiny_llama(tmp_path, max_position_embeddings=4096)
    engine = TransformersEngine(ModelFiles(folder, folder), dtype="float32", max_num_seqs=8)
    async with serve(engine=engine) as server:
        alone = await server.openai.completions.create(model="m", prompt="abc", max_tokens=20, temperature=0)
        await server.http.close()
        await asyncio.sleep(0.1)
        tasks, files = len(asyncio.all_tasks()), descriptors()
        for _ in range(4):
            leaving = [leave(server, random.Random(chance.random())) for _ in range(15)]
            staying = server.openai.completions.create(model="m", prompt="abc", max_tokens=20, temperature=0)
            *_, answer = await asyncio.gather(*leaving, staying)
            assert answer.choices[0].text == alone.choices[0].text
        await server.openai.close()
        await settled(server, tasks, files)
        assert server.service.ready
        assert 'status="500"' not in server.service.metrics.render().decode()


@pytest.mark.timeout(120)
async def test_answers_of_one_token_prompts_that_end_one_after_the_other(tmp_path: Path) -> None:
    """Such prompts go straight into the shared cache, whose last row then fills the holes."""
    folder = save_tiny_llama(tmp_path)
    async with serve(engine=TransformersEngine(ModelFiles(folder, folder), dtype="float32")) as server:

        async def ask(tokens: int) -> tuple[str, int]:
            answer = await server.openai.completions.create(
                model="m", prompt=[70], max_tokens=tokens, temperature=0, extra_body={"ignore_eos": True}
            )
            assert answer.usage is not None
            return answer.choices[0].text[:3], answer.usage.completion_tokens

        together = await asyncio.gather(*(ask(tokens) for tokens in (3, 30, 10, 50)))
        assert together == [(together[0][0], tokens) for tokens in (3, 30, 10, 50)]
        assert server.engine.problem() is None
