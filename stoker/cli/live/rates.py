"""Numbers of one InferenceService from two scrapes of its pods, computed as Prometheus would. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from stoker.cli.live import exposition
from stoker.cli.live.exposition import Series


@dataclass(frozen=True)
class Scrape:
    """One pod's series at a time. `at`: seconds of a monotonic clock."""

    at: float
    series: Mapping[Series, float]


@dataclass(frozen=True)
class Rates:
    """Rates are per second and sums over pods, times in seconds; None: nothing is known of it (yet)."""

    tokens: float | None = None
    requests: float | None = None
    errors: float | None = None
    first_token_p50: float | None = None
    first_token_p99: float | None = None
    running: float | None = None
    waiting: float | None = None
    kv_cache: float | None = None


def rates(before: Mapping[str, Scrape], now: Mapping[str, Scrape]) -> Rates:
    """Of the pods in `now`, by pod uid. One that `before` lacks has no rate yet, only its gauges.

    `errors`: answers with 5xx or 429. `kv_cache`: the fullest pod's share, 0 to 1.
    """
    tokens: list[float] = []
    requests: list[float] = []
    errors: list[float] = []
    buckets: defaultdict[float, float] = defaultdict(float)
    for uid, scrape in now.items():
        earlier = before.get(uid)
        if earlier is None or scrape.at <= earlier.at:
            continue
        passed, grown = scrape.at - earlier.at, increases(earlier.series, scrape.series)
        tokens += [each / passed for each in _values(grown, exposition.TOKENS)]
        counted = _values(grown, exposition.REQUESTS) or _values(grown, exposition.FINISHED)
        requests += [each / passed for each in counted]
        for (name, labels), value in grown.items():
            if name == exposition.REQUESTS:
                errors += [value / passed] if _is_error(dict(labels).get("status", "")) else [0.0]
            elif name == exposition.TTFT:
                buckets[float(dict(labels).get("le", "nan"))] += value
    return Rates(
        _sum(tokens),
        _sum(requests),
        _sum(errors),
        quantile(0.5, buckets),
        quantile(0.99, buckets),
        _sum(_gauges(now, exposition.RUNNING)),
        _sum(_gauges(now, exposition.WAITING)),
        max(_gauges(now, exposition.KV_CACHE), default=None),
    )


def increases(before: Mapping[Series, float], now: Mapping[Series, float]) -> dict[Series, float]:
    """How much each counter grew. One that fell was reset by a restart in between: it grew to its value.

    A series that is new in a process that was scraped before began at 0.
    """
    return {
        series: value - before.get(series, 0.0) if value >= before.get(series, 0.0) else value
        for series, value in now.items()
    }


def quantile(q: float, buckets: Mapping[float, float]) -> float | None:
    """Prometheus' histogram_quantile: `buckets` are cumulative counts by upper border. None: no observation.

    Within a bucket observations count as spread evenly; the lowest begins at 0, where its border is above
    it; in the highest (+Inf) the answer is the border below it.
    """
    bounds = sorted(buckets)
    if len(bounds) < 2 or not math.isinf(bounds[-1]):
        return None
    counts: list[float] = []
    for bound in bounds:  # scrapes race with observations: never less than in the bucket below
        counts.append(max(buckets[bound], counts[-1] if counts else 0.0))
    total = counts[-1]
    if total <= 0:
        return None
    rank = q * total
    index = next(i for i, count in enumerate(counts) if count >= rank)
    if index == len(bounds) - 1:
        return bounds[-2]
    if index == 0 and bounds[0] <= 0:
        return bounds[0]
    start, below = (bounds[index - 1], counts[index - 1]) if index else (0.0, 0.0)
    inside = counts[index] - below
    return start + (bounds[index] - start) * ((rank - below) / inside if inside else 0.0)


def _is_error(status: str) -> bool:
    return status.startswith("5") or status == "429"


def _values(series: Mapping[Series, float], name: str) -> list[float]:
    return [value for (each, _), value in series.items() if each == name]


def _gauges(scrapes: Mapping[str, Scrape], name: str) -> list[float]:
    return [value for scrape in scrapes.values() for value in _values(scrape.series, name)]


def _sum(values: list[float]) -> float | None:
    return sum(values) if values else None
