"""Splitting a command line into flags and their values, before anything knows what they mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_FLAG = re.compile(r"--?[A-Za-z][^=]*")
_NEGATIVE = re.compile(r"-\d")


@dataclass(frozen=True)
class Given:
    """One flag as written. `name` is written with `_` and without what follows a dot (`--json-arg.key`)."""

    written: str
    values: tuple[str, ...]
    inline: bool

    @property
    def name(self) -> str:
        """The flag's name in one spelling: `--max-model-len` -> `max_model_len`, `-tp` -> `-tp`."""
        if not self.written.startswith("--"):
            return self.written.split(".", 1)[0]
        return self.written[2:].split(".", 1)[0].replace("-", "_")

    @property
    def dotted(self) -> bool:
        """Whether it sets one key of a JSON flag."""
        return "." in self.written

    def arguments(self) -> list[str]:
        """The flag as a parser would be given it."""
        return [f"{self.written}={self.values[0]}"] if self.inline else [self.written, *self.values]


def split(arguments: Sequence[str]) -> tuple[list[Given], list[str]]:
    """The flags in order, and the words that belong to none (those before the first flag)."""
    flags: list[Given] = []
    stray: list[str] = []
    index = 0
    while index < len(arguments):
        word = arguments[index]
        index += 1
        if not word.startswith("-") or _NEGATIVE.match(word) or not _FLAG.match(word):
            stray.append(word)
            continue
        name, equals, value = word.partition("=")
        values: list[str] = [value] if equals else []
        while not equals and index < len(arguments) and _is_value(arguments[index]):
            values.append(arguments[index])
            index += 1
        flags.append(Given(name, tuple(values), bool(equals)))
    return flags, stray


def _is_value(word: str) -> bool:
    return not word.startswith("-") or _NEGATIVE.match(word) is not None or word == "-"
