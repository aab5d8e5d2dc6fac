"""What `stoker top` draws on a terminal of a given size. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from stoker.cli.live.rows import COLUMNS, Row, cells

_GAP = 2
_FAULT_LINES = 3
_LEFT = ("NAME", "NOTE")
_GIVEN_UP = ("KV", "RUN", "WAIT", "REQ/S", "P99", "ERR/S", "TTFT P50", "TOK/S", "READY")
"""Columns that a narrow terminal does without, the first ones first."""
_SHORTEST = {"NAME": 20, "NOTE": 16}
"""To so many characters names and notes are cut before a column is given up."""


@dataclass(frozen=True)
class Line:
    """One line of the screen. `style`: rich's; no text is longer than the terminal is wide."""

    text: str
    style: str = ""


def frame(
    found: Sequence[Row], width: int, height: int, *, about: str, namespaced: bool, fault: str = ""
) -> list[Line]:
    """At most `height` lines: what is looked at, the table, and what does not fit or went wrong.

    `about`: the first line. `fault`: why the numbers are old; it keeps its place however many rows there are.
    """
    last = [Line(each, "yellow") for each in textwrap.wrap(fault, max(1, width))[:_FAULT_LINES]]
    if not found:
        return _fitting([Line(about, "dim"), Line("There is no InferenceService."), *last], width, height)
    columns = _columns([cells(row, namespaced=namespaced) for row in found], width)
    room = max(1, height - 2 - len(last))
    shown = found if len(found) <= room else found[: max(0, room - 1)]
    if len(shown) < len(found):
        left = sum(not row.ready for row in found[len(shown) :])
        unready = f", {left} of them not ready" if left else ""
        last.insert(0, Line(f"and {len(found) - len(shown)} more{unready}", "dim"))
    lines = [Line(about, "dim"), Line(_line(COLUMNS, columns), "bold")]
    lines += [
        Line(_line(cells(row, namespaced=namespaced), columns), "" if row.ready else "red") for row in shown
    ]
    return _fitting([*lines, *last], width, height)


def _columns(table: Sequence[Sequence[str]], width: int) -> dict[str, int]:
    """The columns that are shown, each with its width."""
    place = {name: index for index, name in enumerate(COLUMNS)}
    widths = {name: max(len(name), *(len(row[place[name]]) for row in table)) for name in COLUMNS}
    if not any(row[place["NOTE"]] for row in table):
        del widths["NOTE"]
    for given_up in (None, *_GIVEN_UP):
        if given_up is not None:
            del widths[given_up]
        over = sum(widths.values()) + _GAP * (len(widths) - 1) - width
        spare = {each: max(0, widths.get(each, 0) - least) for each, least in _SHORTEST.items()}
        if over <= sum(spare.values()):
            for each in ("NOTE", "NAME"):
                cut = max(0, min(over, spare[each]))
                if cut:
                    widths[each] -= cut
                    over -= cut
            break
    return widths


def _line(row: Sequence[str], columns: dict[str, int]) -> str:
    texts = []
    for name, text in zip(COLUMNS, row, strict=True):
        if name in columns:
            cut = _cut(text, columns[name])
            texts.append(cut.ljust(columns[name]) if name in _LEFT else cut.rjust(columns[name]))
    return (" " * _GAP).join(texts).rstrip()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def _fitting(lines: Sequence[Line], width: int, height: int) -> list[Line]:
    return [Line(_cut(line.text, width), line.style) for line in lines[:height]]
