"""Progress where the output is no terminal: plain lines, not too many."""

from __future__ import annotations

import io

from rich.console import Console

from stoker.local.progress import Progress


def plain(clock: list[float]) -> tuple[Progress, io.StringIO]:
    out = io.StringIO()
    return Progress(Console(file=out, force_terminal=False, width=200), clock=lambda: clock[0]), out


def test_a_bar_says_something_every_15_seconds_and_at_the_end() -> None:
    clock = [0.0]
    progress, out = plain(clock)
    with progress.bar("etcd", 100) as bar:
        for _ in range(100):
            clock[0] += 0.4
            bar.advance(1, "some/package")
    lines = out.getvalue().splitlines()
    assert lines[0] == "etcd: started"
    assert lines[-1] == "etcd: 100% some/package"
    assert len(lines) == 4


def test_components_are_said_when_they_change() -> None:
    clock = [0.0]
    progress, out = plain(clock)
    with progress.components("Kubernetes") as shown:
        for state in ("Waiting", "Waiting", "Ready"):
            shown.show("etcd", state)
            clock[0] += 1
    assert [line.split() for line in out.getvalue().splitlines()] == [
        ["0.0s", "etcd", "Waiting"],
        ["2.0s", "etcd", "Ready"],
    ]


def test_square_brackets_are_text() -> None:
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=120, color_system=None)
    with Progress(terminal).components("Kubernetes") as shown:
        shown.show("node", "Starting", "[/nothing] closes here")
    assert "[/nothing] closes here" in out.getvalue()


def test_reasons_of_several_lines_stay_on_one() -> None:
    progress, out = plain([0.0])
    with progress.components("Kubernetes") as shown:
        shown.show("node", "Waiting", "NotReady\n  no CNI\n\n")
    assert out.getvalue().splitlines() == [f"     0.0s  {'node':<26} Waiting: NotReady; no CNI"]
