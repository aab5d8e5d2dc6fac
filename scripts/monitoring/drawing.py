"""How each kind of panel is drawn: lines, a histogram over time, one number, a table."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import colormaps, ticker
from matplotlib.axes import Axes

from scripts.monitoring.listing import ListedPanel
from scripts.monitoring.recording import Recording, Series
from scripts.monitoring.units import written

PAGE, QUIET, GRID = "#f1f3f7", "#5b6270", "#e4e7ee"
STYLE: Any = {"font.size": 8, "font.family": "DejaVu Sans", "text.color": "#23272f", "axes.linewidth": 0.6}
# Told apart by people who see few colours as well.
COLOURS = ("#1f77d0", "#e8820c", "#2a9d55", "#c43c8d", "#7a5cd6", "#00a3a3", "#b3261e", "#8a6d00", "#5b6270")
_MOST_LEGENDS = 6

Place = Callable[[float, float, float, float], Axes]


def lines(place: Place, panel: ListedPanel, recording: Recording, width: float) -> None:
    """Lines over time from zero, each legend once, the unit at the axis."""
    found = [series for query in panel.queries for series in recording.of(panel, query.ref_id)]
    axes = place(0.75, 0.65, 0.15, 0.32)
    if not found:
        _nothing(axes)
        return
    for number, series in enumerate(found):
        colour = COLOURS[number % len(COLOURS)]
        style = "-" if number < len(COLOURS) else "--"
        times, values = _with_gaps(series, recording.step)
        axes.plot(
            times, values, style, color=colour, linewidth=1.3, label=series.legend or "all", clip_on=False
        )
        if len(found) == 1:
            axes.fill_between(times, values, color=colour, alpha=0.1, linewidth=0)
    highest = max(max(each.values) for each in found)
    axes.set_ylim(0, highest * 1.08 if highest > 0 else 1)
    axes.yaxis.set_major_locator(ticker.MaxNLocator(4))
    axes.yaxis.set_major_formatter(lambda value, _: written(value, panel.unit))
    _over_time(axes, recording)
    _legend(axes, len(found), width)


def heat(place: Place, panel: ListedPanel, recording: Recording, width: float) -> None:
    """Observations per second in each bucket, darker for more; buckets without any are left out."""
    axes = place(0.75, 0.65, 0.75, 0.32)
    (query,) = panel.queries
    borders = sorted(recording.of(panel, query.ref_id), key=lambda series: float(series.labels["le"]))
    if not any(max(each.values, default=0) > 0 for each in borders):
        _nothing(axes)
        return
    count = round(recording.seconds / recording.step) + 1
    table = np.zeros((len(borders), count))
    for row, series in enumerate(borders):
        for at, value in zip(series.times, series.values, strict=True):
            table[row, min(count - 1, round(at / recording.step))] = value
    # Buckets are cumulative: what is new in each is what fell into it.
    table = np.maximum(np.diff(table, axis=0, prepend=0), 0)
    used = np.flatnonzero(table.max(axis=1) > 1e-9)
    first, last = max(0, used[0] - 1), min(len(borders) - 1, used[-1] + 1)
    shown = np.where(table[first : last + 1] > 1e-9, table[first : last + 1], np.nan)
    edges = np.arange(last - first + 2)
    times = (np.arange(count + 1) - 0.5) * recording.step
    mesh = axes.pcolormesh(times, edges, shown, cmap=colormaps["YlOrRd"], vmin=0, linewidth=0)
    names = [written(float(each.labels["le"]), "s") for each in borders[first : last + 1]]
    every = math.ceil(len(names) / 8)
    axes.set_yticks(edges[1::every], [name.replace("inf s", "more") for name in names[::every]])
    _over_time(axes, recording)
    axes.grid(visible=False)
    bar = axes.figure.colorbar(mesh, cax=axes.inset_axes((1.03, 0.0, 0.03, 1.0)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=0, colors=QUIET)
    bar.ax.yaxis.set_major_locator(ticker.MaxNLocator(3))
    bar.ax.yaxis.set_major_formatter(lambda value, _: written(value, "none"))
    axes.text(
        0.0, -0.3, "colour: observations per second, by bucket",
        transform=axes.transAxes, fontsize=7, color=QUIET,
    )  # fmt: skip


def number(place: Place, panel: ListedPanel, recording: Recording, width: float) -> None:
    """The last value, large."""
    axes = _blank(place(0.05, 0.05, 0.05, 0.25))
    (query, *_) = panel.queries
    found = recording.of(panel, query.ref_id)
    text = written(found[0].values[-1], panel.unit) if found else "0"
    axes.text(0.5, 0.48, text, ha="center", va="center", fontsize=17, weight="bold", color=COLOURS[0])


def table(place: Place, panel: ListedPanel, recording: Recording, width: float) -> None:
    """One row for each set of labels, one column for each query."""
    axes = _blank(place(0.1, 0.1, 0.1, 0.35))
    rows = _rows(panel, recording)
    titles = [query.legend for query in panel.queries]
    names = sorted({name for row in rows for name in row} - set(titles))
    heads = [*names, *titles]
    # A column is as wide as what stands in it.
    sizes = [max(len(head) + 1, *(len(row.get(head, "")) for row in rows), 6) + 2 for head in heads]
    starts = np.cumsum([0, *sizes[:-1]]) / sum(sizes)
    height = 1 / max(len(rows) + 1, 8)
    for start, head in zip(starts, heads, strict=True):
        axes.text(start, 1, head, weight="bold", va="top", color=QUIET, fontsize=7.5)
        for line, row in enumerate(rows, start=1):
            axes.text(start, 1 - line * height, row.get(head, ""), va="top", fontsize=7.5)
    for line in range(1, len(rows) + 1):
        axes.axhline(1 - line * height + 0.25 * height, color=GRID, linewidth=0.8)


def _rows(panel: ListedPanel, recording: Recording) -> list[dict[str, str]]:
    """Label or column -> text; like Grafana's `merge`, answers whose common labels agree share a row."""
    rows: list[dict[str, str]] = []
    found = [
        ({name: value for name, value in series.labels.items() if name != "__name__"}, query, series)
        for query in panel.queries
        for series in recording.of(panel, query.ref_id)
    ]
    for labels, query, series in sorted(found, key=lambda each: -len(each[0])):
        same = [row for row in rows if all(row.get(name) == value for name, value in labels.items())]
        if not same:
            rows.append(labels)
            same = rows[-1:]
        for row in same:
            row[query.legend] = written(series.values[-1], query.unit)
    return sorted(rows, key=lambda row: (row.get("namespace", ""), row.get("name", "")))


KINDS: dict[str, Callable[[Place, ListedPanel, Recording, float], None]] = {
    "timeseries": lines,
    "heatmap": heat,
    "stat": number,
    "table": table,
}


def _over_time(axes: Axes, recording: Recording) -> None:
    axes.set_xlim(0, recording.seconds)
    minutes = max(1, round(recording.seconds / 60 / 6))
    axes.xaxis.set_major_locator(ticker.MultipleLocator(60 * minutes))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 60:.0f} min" if value else "")
    axes.grid(visible=True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=7, length=0, colors=QUIET)
    for side in axes.spines.values():
        side.set_visible(False)


def _legend(axes: Axes, count: int, width: float) -> None:
    handles, words = axes.get_legend_handles_labels()
    longest = max(map(len, words))
    columns = max(1, min(count, int((width - 0.3) / (0.047 * longest + 0.34))))
    rows = 3
    shown = columns * rows if count > columns * rows else count
    if shown < count:
        words = [*words[: shown - 1], f"and {count - shown + 1} more"]
        handles = handles[:shown]
    left = -0.62 / (width - 0.9)  # from the card's edge, not from the axis
    axes.legend(
        handles, words, loc="upper left", bbox_to_anchor=(left, -0.16), ncols=columns, fontsize=6.6,
        frameon=False, handlelength=1.2, columnspacing=1.2, borderaxespad=0, labelspacing=0.25,
    )  # fmt: skip


def _with_gaps(series: Series, step: float) -> tuple[list[float], list[float]]:
    times: list[float] = []
    values: list[float] = []
    for at, value in zip(series.times, series.values, strict=True):
        if times and at - times[-1] > 1.5 * step:
            times.append(times[-1] + step)
            values.append(math.nan)
        times.append(at)
        values.append(value)
    return times, values


def _nothing(axes: Axes) -> None:
    _blank(axes).text(0.5, 0.5, "no data", ha="center", va="center", color=QUIET)


def _blank(axes: Any) -> Any:
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    return axes
