"""PromQL that more than one dashboard asks."""

from __future__ import annotations

from scripts.monitoring.panels import Query

RATE = "[$__rate_interval]"


def rate(counter: str, label: str, selection: str = "") -> str:
    """Per second, added up by the label; `selection`: what stands in the braces."""
    return f"sum by ({label}) (rate({counter}{{{selection}}}{RATE}))"


def percentiles(histogram: str, selection: str = "", *, by: str = "", window: str = RATE) -> list[Query]:
    """Half, 95 and 99 of 100; `by`: a label to tell apart."""
    labels, more = (f"{by}, le", f", {{{{{by}}}}}") if by else ("le", "")
    buckets = f"sum by ({labels}) (rate({histogram}_bucket{{{selection}}}{window}))"
    return [
        Query(f"histogram_quantile({share}, {buckets})", f"p{round(share * 100)}{more}")
        for share in (0.5, 0.95, 0.99)
    ]
