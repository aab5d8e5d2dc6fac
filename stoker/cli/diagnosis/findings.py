"""What a step of the walk says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from stoker.cli.diagnosis.facts import Denied


class Level(StrEnum):
    """How bad it is. Only BROKEN needs a person; SKIPPED was not seen, for lack of rights."""

    FINE = "ok"
    WAITING = "wait"
    SKIPPED = "skip"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """`see`: the command that shows it. `do`: what to do about it, "" where the words say so themselves."""

    level: Level
    step: str
    words: str
    see: str = ""
    do: str = ""


def skipped(step: str, denied: Denied) -> Finding:
    """A step that was not looked at."""
    return Finding(Level.SKIPPED, step, f"not looked at: {denied.words}")


def broken(step: str, words: str, see: str, do: str = "") -> Finding:
    """A step that is broken."""
    return Finding(Level.BROKEN, step, words, see, do)
