"""The terminal while `stoker top` has it: redrawn when it is resized, and keys leave no traces on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text

from stoker.cli.live.frame import Line

Draw = Callable[[int, int], Sequence[Line]]
"""The lines for so many columns and rows."""


class Screen:
    """Shows what `draw` says of the terminal's size of the moment."""

    def __init__(self, live: Live, draw: Draw) -> None:
        self._live = live
        self._draw = draw
        self.left = asyncio.Event()
        """Set once somebody pressed q."""

    def redraw(self) -> None:
        """What there is now, at once."""
        size = self._live.console.size
        lines = [Text(line.text, style=line.style) for line in self._draw(size.width, size.height)]
        self._live.update(Text("\n", no_wrap=True, overflow="crop").join(lines), refresh=True)

    def pressed(self) -> None:
        """There are keys to read."""
        if b"q" in os.read(sys.stdin.fileno(), 64).lower():
            self.left.set()


@contextlib.contextmanager
def screen(draw: Draw) -> Iterator[Screen]:
    """Within a running event loop. Afterwards the terminal is as it was, whatever happened."""
    loop = asyncio.get_running_loop()
    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, screen=True) as live, _keys_unseen() as keyboard:
        made = Screen(live, draw)
        loop.add_signal_handler(signal.SIGWINCH, made.redraw)
        if keyboard is not None:
            loop.add_reader(keyboard, made.pressed)
        try:
            made.redraw()
            yield made
        finally:
            loop.remove_signal_handler(signal.SIGWINCH)
            if keyboard is not None:
                loop.remove_reader(keyboard)


@contextlib.contextmanager
def _keys_unseen() -> Iterator[int | None]:
    """The keyboard's file number, each key at once and none echoed; None where stdin is no terminal."""
    if not sys.stdin.isatty():
        yield None
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    quiet = termios.tcgetattr(keyboard)
    quiet[3] &= ~(termios.ICANON | termios.ECHO)  # ISIG stays: Ctrl-C is a signal
    termios.tcsetattr(keyboard, termios.TCSADRAIN, quiet)
    try:
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
