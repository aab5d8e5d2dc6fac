"""Rates and quantiles of `stoker top`, held to what Prometheus computes."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stoker.cli.live.exposition import REQUESTS, TOKENS, TTFT, parse
from stoker.cli.live.rates import Scrape, increases, quantile, rates
from stoker.cli.live.rows import lines, rows
from stoker.cli.live.scraping import Round
from stoker.kube.resource import Key

TEXT = """# HELP vllm:generation_tokens_total Generated tokens.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="a \\"b\\" }"} 12.0
vllm:num_requests_running{engine="0"} 3
vllm:time_to_first_token_seconds_bucket{le="+Inf",model_name="m"} 7.0 1700000000000
vllm:kv_cache_usage_perc{engine="0"} NaN
stoker_runtime_http_requests_total{route="/v1/completions",status="503"} 2.0
python_gc_objects_collected_total{generation="0"} 5.0
vllm:num_requests_waiting nonsense
"""


def test_only_what_is_wanted_is_read() -> None:
    assert parse(TEXT) == {
        (TOKENS, (("engine", "0"), ("model_name", 'a "b" }'))): 12.0,
        ("vllm:num_requests_running", (("engine", "0"),)): 3.0,
        (TTFT, (("le", "+Inf"), ("model_name", "m"))): 7.0,
        (REQUESTS, (("route", "/v1/completions"), ("status", "503"))): 2.0,
    }


def test_quantiles_as_prometheus_computes_them() -> None:
    """Even within a bucket, the border below in the highest one, nothing without observations."""
    buckets = {0.1: 5.0, 0.2: 7.0, 1.0: 10.0, math.inf: 11.0}
    assert quantile(0.0, buckets) == 0.0
    assert quantile(0.5, buckets) == 0.1 + 0.1 * (0.5 / 2)
    assert quantile(10 / 11, buckets) == 1.0
    assert quantile(0.99, buckets) == 1.0, "in the highest bucket: the border below"
    assert quantile(0.5, {0.1: 5.0}) is None, "no bucket for +Inf"
    assert quantile(0.5, {0.1: 0.0, math.inf: 0.0}) is None
    assert quantile(0.5, {0.1: 5.0, 0.2: 4.0, math.inf: 6.0}) == 0.1 * (3 / 5), "a race makes no step down"


BOUNDS = (0.01, 0.1, 0.5, 1.0, 5.0)
TIMES = st.lists(st.floats(0.0001, 20.0), min_size=1, max_size=60)


def _counted(times: list[float]) -> dict[float, float]:
    return {bound: float(sum(each <= bound for each in times)) for bound in (*BOUNDS, math.inf)}


@given(TIMES, st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_of_the_observation_at_its_rank(times: list[float], q: float) -> None:
    found = quantile(q, _counted(times))
    rank = max(0, math.ceil(q * len(times) - 1e-9) - 1)
    index = bisect_left(BOUNDS, sorted(times)[rank])
    assert found is not None
    low = BOUNDS[index - 1] if index else 0.0
    high = BOUNDS[index] if index < len(BOUNDS) else BOUNDS[-1]
    assert low <= found <= high or math.isclose(found, low) or math.isclose(found, high)


@given(TIMES, st.lists(st.floats(0.0, 1.0), min_size=2, max_size=6))
def test_quantiles_rise(times: list[float], ranks: list[float]) -> None:
    found = [quantile(q, _counted(times)) or 0.0 for q in sorted(ranks)]
    assert all(low <= high + 1e-9 for low, high in pairwise(found))


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20), st.integers(0, 19))
def test_counters_count_what_was_added_whatever_was_reset(added: list[int], reset: int) -> None:
    """Each scrape adds; at one of them the process began anew: nothing negative, and at most its loss."""
    series = (TOKENS, ())
    value, total, before = 0.0, 0.0, {series: 0.0}
    for index, more in enumerate(added):
        value = float(more) if index == reset else value + more
        total += increases(before, {series: value})[series]
        before = {series: value}
    lost = 0 if reset >= len(added) or added[reset] < sum(added[:reset]) else sum(added[:reset])
    assert total == sum(added) - lost


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1)
)
def test_pods_add_up_and_a_new_one_has_no_rate_yet(pods: dict[str, tuple[int, int]]) -> None:
    series = (TOKENS, ())
    before = {uid: Scrape(10.0, {series: float(low)}) for uid, (low, _) in pods.items() if uid != "f"}
    now = {uid: Scrape(12.0, {series: float(low + more)}) for uid, (low, more) in pods.items()}
    seen = [more for uid, (_, more) in pods.items() if uid != "f"]
    assert rates(before, now).tokens == (sum(seen) / 2 if seen else None)


def test_a_table_of_what_serves_and_what_does_not() -> None:
    def series(tokens: float, slow: float) -> dict[Any, float]:
        counts = {"0.1": slow, "0.5": slow + 10, "+Inf": slow + 10}
        return {
            (TOKENS, ()): tokens,
            (REQUESTS, (("route", "x"), ("status", "200"))): tokens / 10,
            (REQUESTS, (("route", "x"), ("status", "503"))): tokens / 100,
            ("vllm:num_requests_running", ()): 2.0,
            ("vllm:kv_cache_usage_perc", ()): 0.5,
            **{(TTFT, (("le", bound),)): tokens * count for bound, count in counts.items()},
        }

    def isvc(name: str, status: str, reason: str, replicas: str) -> Any:
        conditions = [{"type": "Ready", "status": status, "reason": reason}]
        return {
            "metadata": {"name": name, "namespace": "default"},
            "status": {"conditions": conditions, "summary": {"replicas": replicas}},
        }

    isvcs = [isvc("b", "True", "Ready", "1/1"), isvc("a", "False", "OOMKilled", "0/1")]
    key = Key("default", "b")
    before = Round(isvcs, {key: {"u": Scrape(0.0, series(100, 0))}})
    now = Round(isvcs, {key: {"u": Scrape(2.0, series(300, 0))}})
    assert lines(rows(before, now), namespaced=False) == [
        "NAME  READY  TOK/S  REQ/S  TTFT P50  P99    RUN  WAIT  KV   ERR/S  NOTE",
        "a     0/1    -      -      -         -      -    -     -    -      OOMKilled",
        "b     1/1    100.0  11.0   300ms     496ms  2    -     50%  1.0",
    ]
    assert [row.key.name for row in rows(before, now, "tokens")] == ["b", "a"]
    assert lines(rows(None, now), namespaced=True)[2].split()[:7] == ["default/b", "1/1", *"----", "2"]
