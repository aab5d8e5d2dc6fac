"""The runtime beside vLLM's own server, on the same engine with the same settings, in one run.

    .venv/bin/python -m bench.runtime [--real] [--rounds 4] [--tokens 256]
    .venv/bin/python -m bench.runtime front

Starts the runtime twice (a chunk for every token; tokens held under load) and vLLM's api_server, then drives
them in turn, round by round: 32 streams of equal length for the CPU that the API process takes per token
(from /proc; the engine is a process of its own), and 1 and 200 streams for the time to the first token. The
model is a Llama of one layer with SmolLM2's tokenizer, so that the API process works hard; --real takes
SmolLM2-135M-Instruct. `front` measures the runtime without vLLM (bench/runtime/front.py).

Exit 1 where a token costs more than 0.7 of vLLM's CPU, or 0.4 where tokens are held, or where first tokens
or tokens per second are worse than vLLM's by more than a tenth, about what two runs differ by.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.runtime import front, model, servers
from bench.runtime.figures import Figures, slower, table
from bench.runtime.streams import Seen, request, together

STREAMS = (1, 32, 200)
ENDPOINTS = {"completions": 0, "chat/completions": 1}  # and how many chunks come before the first text
LIMITS = {"stoker": 0.7, "stoker, held": 0.4}
PEER = "vllm"
_NOISE = 1.1
_START_SECONDS = 240


def main(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        path = model.real() if arguments.real else model.tiny(folder)
        flags = servers.engine_flags(arguments.max_num_seqs)
        mine = ["--backend=vllm", f"--model_dir={path}", *flags]
        started = []
        try:
            # One after the other: together they take longer to start, and memory for it.
            for name, more in (("stoker", ["--hold_seconds=0"]), ("stoker, held", arguments.flag)):
                started.append(servers.ours(name, folder, [*mine, *more]))
                started[-1].until_ready("/health", _START_SECONDS)
            started.append(servers.vllm(PEER, folder, path, flags))
            started[-1].until_ready("/health", _START_SECONDS)
            figures = asyncio.run(measure(started, arguments))
            late = {name: servers.late(server) for server in started if (name := server.name) in LIMITS}
        finally:
            for server in started:
                server.stop()
    missed = False
    for endpoint, each in figures.items():
        print(table(endpoint, each, STREAMS), end="\n\n")
        theirs = each[PEER].cpu / each[PEER].tokens
        for name, most in LIMITS.items():
            worse = slower(each[name], each[PEER], STREAMS, by=_NOISE)
            if each[name].cpu / each[name].tokens > most * theirs:
                worse.append("CPU per token")
            if worse:
                missed = True
                print(f"missed by {name}: {', '.join(worse)}\n")
    for name, share in late.items():
        print(f"{name}: timers of the event loop were more than {servers.LATE * 1000:g} ms late {share:.1%}")
    return int(missed)


async def measure(
    started: Sequence[servers.Server], arguments: argparse.Namespace
) -> dict[str, dict[str, Figures]]:
    """Figures by endpoint and server. Servers take turns, so that all meet the machine's moods alike."""
    made = {endpoint: {server.name: Figures() for server in started} for endpoint in ENDPOINTS}
    for endpoint in ENDPOINTS:
        for server in started:  # a round that does not count
            await _round(server, endpoint, 32, 16)
    end = time.monotonic() + arguments.seconds
    for number in range(arguments.rounds):
        if time.monotonic() > end:
            break
        for endpoint, by_server in made.items():
            turn = number % len(started)
            for server in [*started[turn:], *started[:turn]]:
                figures = by_server[server.name]
                before = server.cpu()
                seen, wall = await _round(server, endpoint, 32, arguments.tokens)
                figures.add(seen, cpu=server.cpu() - before, wall=wall)
                for streams, times in ((1, arguments.singles), (32, 3), (200, 2)):
                    for _ in range(times):
                        figures.add_first((await _round(server, endpoint, streams, 8))[0])
    return made


async def _round(
    server: servers.Server, endpoint: str, streams: int, tokens: int
) -> tuple[list[Seen], float]:
    path = server.path(endpoint)
    texts = [f"{time.monotonic_ns()}: tell me about the number {index}." for index in range(streams)]
    asked = [request(path, servers.MODEL, text, tokens) for text in texts]
    seen, wall = await together(server.port, asked, before_text=ENDPOINTS[endpoint])
    wrong = [each.tokens for each in seen if each.tokens != tokens]
    assert not wrong, f"{server.name} answered {wrong} tokens in place of {tokens}"
    return seen, wall


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.runtime", description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["vllm", "front"], default="vllm")
    parser.add_argument("--part", action="append", choices=front.PARTS, help="of `front`; default: all")
    parser.add_argument(
        "--real", action="store_true", help="SmolLM2-135M-Instruct in place of the tiny model"
    )
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=600, help="begin no round after so long")
    parser.add_argument("--tokens", type=int, default=256, help="of each of the 32 streams")
    parser.add_argument("--singles", type=int, default=40, help="lone requests in each round")
    parser.add_argument("--max-num-seqs", type=int, default=256)
    parser.add_argument("--flag", action="append", default=[], help="a further flag of the holding runtime")
    return parser.parse_args()


if __name__ == "__main__":
    given = _parse()
    sys.exit(front.main(given.part or front.PARTS) if given.what == "front" else main(given))
