"""How long steps show that they move: a bar or a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

# Plain output says something at least this often, so that a log that stands still means trouble.
_PLAIN_INTERVAL = 15.0


class Bar(Protocol):
    """One long step with a known number of parts."""

    def advance(self, parts: int = 1, text: str = "") -> None:
        """`parts` more are done; `text` says what is being worked on."""


class Components(Protocol):
    """The state of several components that start together."""

    def show(self, name: str, state: str, detail: str = "") -> None:
        """Component `name` is now in `state` (Waiting, Starting, Ready, ...)."""


class Progress:
    """Progress on one console; takes its form from whether that console is a terminal."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._clock = clock

    def note(self, text: str) -> None:
        """One line about what happens now."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Bar]:
        """A bar of `total` parts."""
        if not self.console.is_terminal:
            yield _PlainBar(self, title, total, self._clock)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
        with RichProgress(
            *columns, TimeElapsedColumn(), TextColumn("[dim]{task.fields[text]}"), console=self.console
        ) as shown:
            yield _RichBar(shown, title, total)

    @contextmanager
    def components(self, title: str) -> Iterator[Components]:
        """A live table of components."""
        if not self.console.is_terminal:
            yield _PlainComponents(self, self._clock)
            return
        table = _LiveComponents(title, self._clock)
        with Live(table, console=self.console, refresh_per_second=4, transient=False):
            yield table


class _PlainBar:
    def __init__(self, progress: Progress, title: str, total: int, clock: Callable[[], float]) -> None:
        self._progress, self._title, self._total, self._clock = progress, title, total, clock
        self._done = 0
        self._said_at = clock()
        progress.note(f"{title}: started")

    def advance(self, parts: int = 1, text: str = "") -> None:
        self._done += parts
        if self._done >= self._total or self._clock() - self._said_at >= _PLAIN_INTERVAL:
            self._said_at = self._clock()
            percent = 100 * min(self._done, self._total) // max(self._total, 1)
            self._progress.note(f"{self._title}: {percent}% {text}".rstrip())


class _RichBar:
    def __init__(self, shown: RichProgress, title: str, total: int) -> None:
        self._shown = shown
        self._task = shown.add_task(title, total=total, text="")

    def advance(self, parts: int = 1, text: str = "") -> None:
        self._shown.update(self._task, advance=parts, text=escape(text[-40:]))


class _PlainComponents:
    def __init__(self, progress: Progress, clock: Callable[[], float]) -> None:
        self._progress, self._clock, self._began = progress, clock, clock()
        self._states: dict[str, tuple[str, str]] = {}

    def show(self, name: str, state: str, detail: str = "") -> None:
        # One event, one line.
        detail = "; ".join(line.strip() for line in detail.splitlines() if line.strip())
        if self._states.get(name) == (state, detail):
            return
        self._states[name] = (state, detail)
        elapsed = self._clock() - self._began
        self._progress.note(f"  {elapsed:6.1f}s  {name:<26} {state}{': ' + detail if detail else ''}")


class _LiveComponents:
    def __init__(self, title: str, clock: Callable[[], float]) -> None:
        self._title, self._clock, self._began = title, clock, clock()
        self._rows: dict[str, tuple[str, str, float]] = {}

    def show(self, name: str, state: str, detail: str = "") -> None:
        known = self._rows.get(name)
        since = known[2] if known and known[0] == state else self._clock() - self._began
        self._rows[name] = (state, detail, since)

    def __rich__(self) -> Table:
        table = Table(title=self._title, title_justify="left", box=None, pad_edge=False)
        for heading in ("component", "state", "at", "detail"):
            table.add_column(heading, overflow="fold")
        for name, (state, detail, since) in self._rows.items():
            color = {"Ready": "green", "Failed": "red"}.get(state, "yellow")
            table.add_row(name, f"[{color}]{state}", f"{since:.1f}s", escape(detail))
        return table
