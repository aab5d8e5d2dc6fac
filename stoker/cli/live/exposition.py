"""Prometheus' text format, of which only the series named here are read: vLLM exposes thousands of lines."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

Labels = tuple[tuple[str, str], ...]
Series = tuple[str, Labels]

TOKENS = "vllm:generation_tokens_total"
TTFT = "vllm:time_to_first_token_seconds_bucket"
RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
KV_CACHE = "vllm:kv_cache_usage_perc"
REQUESTS = "stoker_runtime_http_requests_total"
FINISHED = "vllm:request_success_total"  # where the server is not Stoker's own
_WANTED = frozenset({TOKENS, TTFT, RUNNING, WAITING, KV_CACHE, REQUESTS, FINISHED})

_LINE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?[ \t]+(\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


def parse(text: str) -> dict[Series, float]:
    """The wanted series of an exposition; lines that cannot be read are passed over."""
    return dict(_parsed(text))


def _parsed(text: str) -> Iterator[tuple[Series, float]]:
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None or found[1] not in _WANTED:
            continue
        try:
            value = float(found[3])
        except ValueError:
            continue
        if not math.isnan(value):
            yield (found[1], _labels(found[2] or "")), value


def _labels(text: str) -> Labels:
    pairs = ((name, _ESCAPED.sub(_unescaped, value)) for name, value in _LABEL.findall(text))
    return tuple(sorted(pairs))


def _unescaped(found: re.Match[str]) -> str:
    return "\n" if found[1] == "n" else str(found[1])
