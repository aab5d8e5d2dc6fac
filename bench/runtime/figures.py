"""Figures of many streams, and the table that they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.runtime.streams import Seen


@dataclass
class Figures:
    """What one server did at one endpoint. Seconds, tokens; `first` by the number of streams at once."""

    cpu: float = 0.0
    wall: float = 0.0
    tokens: int = 0
    chunks: int = 0
    gaps: list[float] = field(default_factory=list)
    first: dict[int, list[float]] = field(default_factory=dict)

    def add(self, seen: Sequence[Seen], *, cpu: float, wall: float) -> None:
        """A round of long streams."""
        self.cpu += cpu
        self.wall += wall
        for each in seen:
            self.tokens += each.tokens
            self.chunks += each.chunks
            self.gaps += each.gaps
        self.add_first(seen)

    def add_first(self, seen: Sequence[Seen]) -> None:
        """A round that is about the first token only."""
        self.first.setdefault(len(seen), []).extend(each.first for each in seen)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie; nan of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


Row = tuple[str, str, Callable[[Figures], float]]


def slower(own: Figures, peer: Figures, streams: Sequence[int], *, by: float) -> list[str]:
    """What is worse than the peer's by more than a factor: first tokens, tokens per second."""
    found = ["tokens per second"] if own.tokens / own.wall * by < peer.tokens / peer.wall else []
    for count in streams:
        for share in (0.5, 0.99):
            if percentile(own.first[count], share) > by * percentile(peer.first[count], share):
                found.append(f"first token p{share * 100:.0f} at {count}")
    return found


def rows(streams: Sequence[int]) -> list[Row]:
    """Name, format and value of every figure."""
    made: list[Row] = [
        ("CPU of the API process, us per token", ".1f", lambda f: f.cpu / f.tokens * 1e6),
        ("output tokens per second", ".0f", lambda f: f.tokens / f.wall),
        ("chunks per token", ".2f", lambda f: f.chunks / f.tokens),
        ("between chunks p50, ms", ".1f", lambda f: percentile(f.gaps, 0.5) * 1e3),
        ("between chunks p99, ms", ".1f", lambda f: percentile(f.gaps, 0.99) * 1e3),
    ]

    def first(count: int, share: float) -> Callable[[Figures], float]:
        return lambda f: percentile(f.first.get(count, []), share) * 1e3

    for count in streams:
        for share in (0.5, 0.99):
            made.append((f"first token p{share * 100:.0f} at {count}, ms", ".1f", first(count, share)))
    return made


def table(title: str, servers: dict[str, Figures], streams: Sequence[int]) -> str:
    """A Markdown table; each server's ratio to the last one's behind its figure."""
    names = list(servers)
    *_, peer = servers.values()
    lines = [f"| {title} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for name, spec, value in rows(streams):
        cells = []
        for figures in servers.values():
            own, theirs = value(figures), value(peer)
            cells.append(f"{own:{spec}}" + ("" if figures is peer else f" ({own / theirs:.2f}x)"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
