"""The dashboards as pictures, from what a Prometheus recorded: for readers who have no Grafana at hand.

    python -m scripts.monitoring.pictures --url http://198.18.1.2:30090 --minutes 6 --service chat
    python -m scripts.monitoring.pictures --recording FILE

Draws every panel where Grafana would put it, with its title, unit and legend, into docs/pictures.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Container
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from scripts.monitoring import drawing, listing
from scripts.monitoring.listing import ListedPanel
from scripts.monitoring.recording import Recording, record

FOLDER = Path(__file__).parents[2] / "docs/pictures"
_WIDTH, _COLUMN, _ROW = 11.0, 11.0 / 24, 0.25  # inches: the page, and one cell of Grafana's grid
_MARGIN = 0.06
_TITLES = {"fleet": "Fleet", "service": "Service", "control-plane": "Control plane"}


def draw(recording: Recording, into: Path = FOLDER, only: Container[str] | None = None) -> list[Path]:
    """One PNG for each dashboard, or for those named."""
    mpl.rcParams.update(drawing.STYLE)
    into.mkdir(parents=True, exist_ok=True)
    boards: dict[str, list[ListedPanel]] = {}
    for panel in listing.panels():
        if only is None or panel.dashboard in only:
            boards.setdefault(panel.dashboard, []).append(panel)
    return [_board(name, panels, recording, into / f"{name}.png") for name, panels in boards.items()]


def _board(name: str, panels: list[ListedPanel], recording: Recording, path: Path) -> Path:
    height = (max(y + h for panel in panels for _, y, _, h in [panel.place]) + 1.6) * _ROW
    figure = Figure(figsize=(_WIDTH, height), dpi=130, facecolor=drawing.PAGE)
    heading = f"Stoker / {_TITLES.get(name, name)}"
    figure.text(_MARGIN * 2 / _WIDTH, 1 - 0.3 / height, heading, fontsize=14, weight="bold")
    rows: dict[str, int] = {}
    for panel in panels:
        rows[panel.row] = min(rows.get(panel.row, 10_000), panel.place[1])
    for row, y in rows.items():
        top = height - (y + 1.6 - 0.3) * _ROW
        at = (_MARGIN * 2 / _WIDTH, top / height)
        figure.text(*at, row, fontsize=10.5, weight="bold", color=drawing.QUIET)
    for panel in panels:
        _panel(figure, panel, recording, height)
    _save(figure, path)
    return path


def _panel(figure: Figure, panel: ListedPanel, recording: Recording, height: float) -> None:
    x, y, w, h = panel.place
    left, bottom = x * _COLUMN + _MARGIN, height - (y + h + 1.6) * _ROW + _MARGIN
    wide, high = w * _COLUMN - 2 * _MARGIN, h * _ROW - 2 * _MARGIN
    card = FancyBboxPatch(
        (left / _WIDTH, bottom / height), wide / _WIDTH, high / height, transform=figure.transFigure,
        boxstyle="square,pad=0", facecolor="white", edgecolor="#d8dbe2", linewidth=0.8, zorder=-1,
    )  # fmt: skip
    figure.add_artist(card)
    at = ((left + 0.08) / _WIDTH, (bottom + high - 0.2) / height)
    figure.text(*at, panel.title, fontsize=9, weight="bold")

    def axes(from_left: float, from_bottom: float, to_right: float, to_top: float) -> Axes:
        """Axes inside the card; distances in inches from its edges."""
        inside = (wide - from_left - to_right, high - from_bottom - to_top)
        corner = ((left + from_left) / _WIDTH, (bottom + from_bottom) / height)
        return figure.add_axes((*corner, inside[0] / _WIDTH, inside[1] / height))

    drawing.KINDS[panel.kind](axes, panel, recording, wide)


def _save(figure: Figure, path: Path) -> None:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    # 128 colours are enough for lines and text, and a third of the bytes.
    Image.open(drawn).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Record, or read a recording, and draw."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--url", help="of a Prometheus that scrapes Stoker")
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--step", type=float, default=5, help="seconds between two points")
    parser.add_argument("--service", default=".*", help="the one that the dashboard Service shows")
    parser.add_argument("--recording", type=Path, help="read it, or with --url write it")
    parser.add_argument("--into", type=Path, default=FOLDER)
    options = parser.parse_args()
    if options.url:
        found = record(
            options.url, end=time.time(), seconds=options.minutes * 60, step=options.step,
            choices={"service": options.service, "interval": f"{4 * options.step:.0f}s", "window": "1h"},
        )  # fmt: skip
        if options.recording:
            found.save(options.recording)
    elif options.recording:
        found = Recording.load(options.recording)
    else:
        parser.error("--url or --recording")
    for path in draw(found, options.into):
        print(f"{path} {path.stat().st_size / 1000:.0f} KB")  # noqa: T201


if __name__ == "__main__":
    main()
