"""The transformers backend against the library's own ways to serve many at once.

    .venv/bin/python -m bench.transformers_backend --dtype float32

The same 32 prompts and token counts everywhere, SmolLM2-135M-Instruct unless --model says another:
`generate` one prompt at a time and a static batch of all (greedy, nothing streamed), the library's
ContinuousBatchingManager in process, `transformers serve` without and with --continuous-batching, and our
runtime; the servers over HTTP, streamed, sampled. Every case has a process of its own. Prints tokens per
second and ratios, and for servers when tokens came; then how long our running streams wait while a prompt of
2,000 tokens comes in. Exit 1 where ours is not 8 times one prompt at a time and above `transformers serve`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.streams import Streams, longest_gap, measure, served
from runtime.hub import cache, fetch, stand_in

STREAMS = 32
TEMPERATURE, TOP_P = 0.8, 0.95
ONE_AT_A_TIME = 3  # prompts are enough for a rate
AIM = 8.0
_TOPICS = ("colors", "the sea", "a city at night", "bread", "numbers", "winter", "a long journey", "music")
_FORMS = (
    "Write a poem about {}.",
    "Explain to a child, in simple words and with one example, what is special about {}.",
    "List five facts about {}:",
    "Once upon a time there was somebody who thought about {} every day, in the morning, at noon and in the "
    "evening, and whenever friends came by the talk was of {} again. One day",
)


def prompts() -> list[str]:
    """32 prompts of 7 to 50 tokens."""
    return [form.format(topic, topic) for topic in _TOPICS for form in _FORMS]


def in_process(case: str, model: str, dtype: str, tokens: int) -> float:
    """Tokens per second of one of the library's own ways."""
    import torch  # noqa: PLC0415 - only the cases' own processes need it
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).to(device).eval()
    return _CASES[case](loaded, tokenizer, tokens)


def _generate(model: Any, tokenizer: Any, texts: list[str], tokens: int) -> float:
    inputs = tokenizer(texts, return_tensors="pt", padding=True).to(model.device)
    seconds = measure(
        lambda: model.generate(**inputs, do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens)
    )
    return len(texts) * tokens / seconds


def _one_at_a_time(model: Any, tokenizer: Any, tokens: int) -> float:
    _generate(model, tokenizer, prompts()[:1], 4)
    rates = [_generate(model, tokenizer, [text], tokens) for text in prompts()[:ONE_AT_A_TIME]]
    return ONE_AT_A_TIME / sum(1 / rate for rate in rates)


def _static_batch(model: Any, tokenizer: Any, tokens: int) -> float:
    _generate(model, tokenizer, prompts(), 4)
    return _generate(model, tokenizer, prompts(), tokens)


def _manager(model: Any, tokenizer: Any, tokens: int) -> float:
    from transformers import GenerationConfig  # noqa: PLC0415

    ids = [tokenizer(text)["input_ids"] for text in prompts()]
    asked = GenerationConfig(
        max_new_tokens=tokens, do_sample=True, temperature=TEMPERATURE, top_p=TOP_P, eos_token_id=-1
    )
    made: list[int] = []

    def all_of(manager: Any) -> None:
        wanted = set(manager.add_requests(inputs=ids, max_new_tokens=tokens))
        while wanted:
            result = manager.get_result(timeout=1)
            if result is not None and result.is_finished():
                wanted.discard(result.request_id)
                made.append(len(result.generated_tokens))
            elif result is None and not manager.is_running():
                raise RuntimeError("the ContinuousBatchingManager's thread ended")

    with model.continuous_batching_context_manager(generation_config=asked, timeout=5) as manager:
        all_of(manager)  # the first requests make it allocate and compile
        made.clear()
        seconds = measure(lambda: all_of(manager))
    return sum(made) / seconds


def _prompts_alone(model: Any, tokenizer: Any, _: int) -> float:
    """Tokens of prompts per second, all in one call: the last first token of a burst comes no sooner."""
    import torch  # noqa: PLC0415

    from runtime import machine  # noqa: PLC0415
    from runtime.engines.transformers.batching.choose import choose  # noqa: PLC0415

    torch.set_num_threads(max(1, machine.processors() - 1))
    batching = choose(model, 2048)
    ids = [tokenizer(text)["input_ids"] for text in prompts()]

    def read() -> None:
        rows = [batching.open() for _ in ids]
        batching.step(list(zip(rows, ids, strict=True)))
        for row in rows:
            batching.close(row)

    with torch.inference_mode():
        read()
        return sum(map(len, ids)) / measure(read)


_PROMPTS = "prompts alone, in one call"
_CASES: dict[str, Callable[[Any, Any, int], float]] = {
    _PROMPTS: _prompts_alone,
    "generate, one at a time": _one_at_a_time,
    "generate, static batch": _static_batch,
    "ContinuousBatchingManager": _manager,
}


def own_process(case: str, model: str, dtype: str, tokens: int) -> float:
    command = [sys.executable, "-m", "bench.transformers_backend", "--case", case]
    options = ["--model", model, "--dtype", dtype, "--tokens", str(tokens)]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=60, check=False, cwd=Path.cwd()
    )
    if done.returncode:
        raise RuntimeError(f"{case}:\n{done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])


def library_server(model: str, dtype: str, tokens: int, *flags: str) -> Callable[[int], Any]:
    """`transformers serve`, and what to ask it for; its completions take no `ignore_eos`."""
    config = {"max_new_tokens": tokens, "do_sample": True, "temperature": TEMPERATURE, "top_p": TOP_P}
    body = {"model": model, "generation_config": json.dumps({**config, "eos_token_id": -1})}
    program = [str(Path(sys.executable).with_name("transformers")), "serve", model]
    return lambda port: (
        [*program, "--dtype", dtype, "--port", str(port), *flags],
        Streams(f"http://127.0.0.1:{port}", "/health", {**body, "max_tokens": tokens}),
    )


def our_server(model: str, dtype: str, tokens: int) -> Callable[[int], Any]:
    body = {"model": "m", "max_tokens": tokens, "temperature": TEMPERATURE, "top_p": TOP_P}
    flags = [f"--model_id={model}", "--model_name=m", "--backend=huggingface", f"--dtype={dtype}"]
    return lambda port: (
        [sys.executable, "-m", "runtime", *flags, f"--http_port={port}", "--disable_log_requests"],
        Streams(
            f"http://127.0.0.1:{port}",
            "/ready",
            {**body, "ignore_eos": True, "stream_options": {"include_usage": True}},
        ),
    )


async def main(arguments: argparse.Namespace) -> int:
    model, dtype, tokens = arguments.model, arguments.dtype, arguments.tokens
    print(
        f"{STREAMS} streams of {tokens} tokens, {Path(model).parents[1].name}, {dtype}; transformers "
        f"{version('transformers')}, torch {version('torch')}, Python {platform.python_version()}\n"
    )
    rates: dict[str, float] = {}
    servers = {
        "ours": our_server(model, dtype, tokens),
        "transformers serve --continuous-batching": library_server(
            model, dtype, tokens, "--continuous-batching"
        ),
        "transformers serve": library_server(model, dtype, tokens),
    }
    for case in ("ours", *_CASES, *list(servers)[1:]):
        if arguments.only and case not in arguments.only:
            continue
        if arguments.burst and case not in ("ours", _PROMPTS):
            continue
        try:
            if case in _CASES:
                rates[case] = own_process(case, model, dtype, tokens)
                print(f"{case:44} {rates[case]:8.1f} tokens/s", flush=True)
                continue
            async with served(servers[case]) as streams:
                await streams.run(prompts()[:2], 20, most=4)  # warm
                seen = await streams.run(prompts(), arguments.seconds)
                rates[case] = seen.rate
                print(f"{case:44} {seen}", flush=True)
                if case == "ours" and not (arguments.burst or arguments.no_long):
                    print(await longest_gap(streams, prompts()), flush=True)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"{case:44} failed: {str(error)[-300:]}", flush=True)
    ours, alone = rates.get("ours", 0.0), rates.get("generate, one at a time", float("inf"))
    theirs = max((rate for case, rate in rates.items() if case.startswith("transformers serve")), default=0.0)
    if arguments.burst:
        return 0
    print(f"ours / one at a time {ours / alone:.1f} (aim {AIM:.0f})")
    print(f"ours / the better transformers serve {ours / theirs if theirs else 0:.1f} (aim 1)")
    return 0 if ours >= AIM * alone and ours > theirs else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="directory of a model")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--seconds", type=float, default=30, help="a server is cut off after so long")
    parser.add_argument("--only", action="append", help="a case by its name; several times for several")
    parser.add_argument("--burst", action="store_true", help="how soon 32 prompts have their first tokens")
    parser.add_argument("--no-long", action="store_true", help="without the prompt of 2,000 tokens")
    parser.add_argument("--case", choices=list(_CASES), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        print(in_process(given.case, given.model, given.dtype, given.tokens))
        sys.exit(0)
    if given.model is None:
        given.model = str(fetch.fetch(stand_in.MODEL_ID, None, cache.hub_cache(), refresh=False))
    sys.exit(asyncio.run(main(given)))
