"""What a PromQL expression reads: its series with the labels it asks of them, and the labels it groups by."""

from __future__ import annotations

import re
from dataclasses import dataclass

from . import page

_WORD = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SELECTOR = re.compile(rf"({_WORD})\s*(?:\{{([^}}]*)\}})?")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_RANGE = re.compile(r"\[[^\]]*\]")
_WORDS = frozenset({"and", "or", "unless", "offset", "bool", "by", "without", "on", "ignoring", "inf", "nan"})


@dataclass(frozen=True)
class Reads:
    series: dict[str, set[str]]  # name -> labels in its braces
    grouped: set[str]


def reads(expression: str) -> Reads:
    """The series and labels in an expression."""
    text = _RANGE.sub("", _STRING.sub('""', expression))
    grouped = {each.strip() for found in _GROUPING.findall(text) for each in found.split(",") if each.strip()}
    text = _GROUPING.sub(" ", text)
    series: dict[str, set[str]] = {}
    for match in _SELECTOR.finditer(text):
        name, braces = match[1], match[2]
        after = text[match.end() :].lstrip()
        before = text[: match.start()]
        if name in _WORDS or after.startswith("(") or before[-1:].isdigit():
            continue  # a keyword, a function, or a duration's unit
        labels = {re.split(r"=|!", each)[0].strip() for each in (braces or "").split(",") if each.strip()}
        series.setdefault(name, set()).update(labels)
    return Reads(series, grouped)


def unknown(expression: str) -> list[str]:
    """What the expression reads that docs/metrics.md does not have."""
    known, found = page.known_series(), reads(expression)
    problems = [f"no metric {name}" for name in found.series if name not in known]
    there: set[str] = set()
    for name, labels in found.series.items():
        has = known.get(name, frozenset()) | page.TARGET_LABELS
        there |= has
        problems += [f"{name} has no label {label}" for label in sorted(labels - has)]
    return problems + [f"nothing here has the label {label}" for label in sorted(found.grouped - there)]
