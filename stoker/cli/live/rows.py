"""From rounds to rows, and rows to columns of text. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from stoker.cli.live.rates import Rates, rates
from stoker.cli.live.scraping import Round
from stoker.kube.resource import Key, Object, key_of

COLUMNS = ("NAME", "READY", "TOK/S", "REQ/S", "TTFT P50", "P99", "RUN", "WAIT", "KV", "ERR/S", "NOTE")
_LONGEST_NOTE = 60


@dataclass(frozen=True)
class Row:
    """One InferenceService. `replicas`: ready/wanted; `note`: why it is not ready, or what was not seen."""

    key: Key
    ready: bool
    replicas: str
    rates: Rates
    note: str = ""


def rows(before: Round | None, now: Round, sort: str = "name") -> list[Row]:
    """A row for each InferenceService, by name or with the largest first."""
    found = [_row(before, now, isvc) for isvc in now.isvcs]
    found.sort(key=lambda row: row.key)
    if sort != "name":
        found.sort(key=lambda row: -_number(row, sort))
    return found


def cells(row: Row, *, namespaced: bool) -> tuple[str, ...]:
    """The row's texts, as many as COLUMNS."""
    each = row.rates
    return (
        str(row.key) if namespaced else row.key.name,
        row.replicas,
        _decimal(each.tokens),
        _decimal(each.requests),
        _time(each.first_token_p50),
        _time(each.first_token_p99),
        _whole(each.running),
        _whole(each.waiting),
        "-" if each.kv_cache is None else f"{each.kv_cache:.0%}",
        _decimal(each.errors),
        row.note if len(row.note) <= _LONGEST_NOTE else f"{row.note[: _LONGEST_NOTE - 3]}...",
    )


def lines(found: Sequence[Row], *, namespaced: bool) -> list[str]:
    """Aligned columns, the heading first."""
    table = [COLUMNS, *(cells(row, namespaced=namespaced) for row in found)]
    widths = [max(len(row[i]) for row in table) for i in range(len(COLUMNS))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def document(found: Sequence[Row]) -> list[Object]:
    """For `-o json`: seconds and per second; null where nothing is known."""
    return [
        {
            "namespace": row.key.namespace,
            "name": row.key.name,
            "ready": row.ready,
            "replicas": row.replicas,
            **asdict(row.rates),
            "note": row.note,
        }
        for row in found
    ]


def _row(before: Round | None, now: Round, isvc: Object) -> Row:
    key, status = key_of(isvc), isvc.get("status") or {}
    conditions = status.get("conditions") or []
    ready: Object = next((each for each in conditions if each["type"] == "Ready"), {})
    is_ready = ready.get("status") == "True"
    earlier = before.scrapes.get(key, {}) if before is not None else {}
    note = "" if is_ready else str(ready.get("reason") or "not looked at yet")
    missed = now.missed.get(key, 0)
    if missed and not note:
        note = f"{missed} not scraped: {now.why}"
    note = "".join(each for each in " ".join(note.split()) if each.isprintable())
    replicas = str((status.get("summary") or {}).get("replicas") or "-")
    return Row(key, is_ready, replicas, rates(earlier, now.scrapes.get(key, {})), note)


def _number(row: Row, sort: str) -> float:
    chosen = {
        "tokens": row.rates.tokens,
        "requests": row.rates.requests,
        "ttft": row.rates.first_token_p99,
        "waiting": row.rates.waiting,
        "errors": row.rates.errors,
    }[sort]
    return -1.0 if chosen is None else chosen


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _time(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f}ms" if value < 1 else f"{value:.2f}s"
