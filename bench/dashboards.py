"""A load that makes the dashboards show something, then their pictures.

    stoker up --prometheus && .venv/bin/python -m bench.dashboards

Five minutes on the local cluster, on the echo engine, so that nothing but the stack itself is at work: two
InferenceServices under steady load; a slower canary of one; a burst that makes its queue and its time to
first token grow; the canary's promotion; and some that are wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from pathlib import Path

import aiohttp

from e2e.cluster import Cluster, environment
from e2e.objects import ECHO_RUNTIME, Object, inference_service
from scripts.monitoring import pictures, recording
from stoker.local import cluster as local
from stoker.local.home import home_from

STEP = 5.0
_PROMISED = {"stoker.dev/objective-availability": "99.5", "stoker.dev/objective-ttft-seconds": "0.5"}
_RATES = {"chat": 3.0, "search": 2.0}  # requests per second
_BURST = 14.0


def chat(token_seconds: float, canary: int | None = None) -> Object:
    """The one that changes: eight sequences at a time, an objective, and a canary where one is given."""
    more = {} if canary is None else {"canaryTrafficPercent": canary}
    made = inference_service("chat", f"--echo_token_seconds={token_seconds}", "--max_num_seqs=8", **more)
    made["metadata"]["annotations"] = _PROMISED
    return made


async def arrivals(cluster: Cluster, name: str, rates: dict[str, float], draw: random.Random) -> None:
    """Requests at `rates[name]` per second, at random moments, until cancelled."""
    host = {"Host": f"{name}.default.example.com"}
    limit = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(cluster.ingress, headers=host, connector=limit) as http,
        asyncio.TaskGroup() as running,
    ):
        while True:
            await asyncio.sleep(draw.expovariate(rates[name]))
            running.create_task(ask(http, name, draw.randint(4, 40), leaves=draw.random() < 0.04))


async def ask(http: aiohttp.ClientSession, model: str, words: int, *, leaves: bool) -> None:
    """One streamed chat; some clients leave after a few tokens."""
    messages = [{"role": "user", "content": "word " * words}]
    body = {"model": model, "messages": messages, "max_tokens": 8 + words, "stream": True}
    try:
        async with http.post("/openai/v1/chat/completions", json=body) as answer:
            left = 8 if leaves else 100_000  # lines
            async for _ in answer.content:
                left -= 1
                if not left:
                    return
    except aiohttp.ClientError:
        return  # the servers count it


async def story(cluster: Cluster, speed: float) -> None:
    """What happens when, in seconds divided by `speed`."""
    rates = dict(_RATES)
    draw = random.Random(7)
    askers = [asyncio.create_task(arrivals(cluster, name, rates, draw)) for name in rates]
    canary = chat(0.04, canary=30)
    refused = inference_service("refused")
    refused["metadata"]["annotations"] = {"stoker.dev/objective-ttft-seconds": "0.3"}
    broken = inference_service("broken", "--backend=huggingface", "--model_id=nobody/nothing")

    async def kubectl(*arguments: str, given: Object) -> None:
        text = json.dumps(given)
        await asyncio.to_thread(cluster.kubectl, *arguments, "-f", "-", stdin=text, check=False)

    async def until(second: float) -> None:
        await asyncio.sleep(max(0.0, second / speed - (time.monotonic() - begin)))

    begin = time.monotonic()
    await until(60)
    await kubectl("apply", given=canary)
    await until(130)
    rates["chat"] = _BURST
    await until(165)
    rates["chat"] = _RATES["chat"]
    await until(200)
    await kubectl("apply", given=chat(0.04))
    await until(225)
    await kubectl("apply", given=broken)
    await kubectl("apply", given=inference_service("unfit", model={"modelFormat": {"name": "nobodys"}}))
    for _ in range(3):
        await kubectl("apply", given=refused)
        await asyncio.sleep(5 / speed)
    await until(300)
    for asker in askers:
        asker.cancel()
    await asyncio.gather(*askers, return_exceptions=True)


def main() -> None:
    """Run the load, record what Prometheus has, draw."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--speed", type=float, default=1.0, help="2: everything twice as soon")
    parser.add_argument("--recording", type=Path, default=Path("artifacts/dashboards.json"))
    parser.add_argument("--into", type=Path, default=pictures.FOLDER)
    options = parser.parse_args()
    home = home_from()
    url = local.running(home).prometheus_url
    if url is None:
        parser.error("no Prometheus is there: `stoker up --prometheus`")
    cluster = Cluster(environment(home.path))
    cluster.apply(ECHO_RUNTIME)
    cluster.apply(chat(0.015))
    cluster.apply(inference_service("search", "--echo_token_seconds=0.005"))
    for name in _RATES:
        cluster.wait_ready(name)
    begin = time.time()
    asyncio.run(story(cluster, options.speed))
    found = recording.record(
        url, end=time.time() - STEP, seconds=time.time() - begin - STEP, step=STEP,
        choices={"service": "chat", "interval": "20s", "window": "1h"},
    )  # fmt: skip
    found.save(options.recording)
    for path in pictures.draw(found, options.into):
        print(f"{path} {path.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()
