"""Command lines of containers as flags, so that a user's flag replaces the runtime's instead of joining it.

Nothing here knows which flags a program has. A flag is a word that begins with `-` and a letter; the words
after it up to the next flag are its values, whether it takes them or not (`--a=b`, `--a b`, `--a b c`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

_FLAG = re.compile(r"--?[A-Za-z][^=]*")
_REST = "--"  # all words after it are positional


@dataclass(frozen=True)
class Flag:
    """One flag as it was written, at `index` in its list of arguments."""

    index: int
    written: str  # without a value: --max-model-len
    values: tuple[str, ...]
    inline: bool  # --a=b

    @cached_property
    def name(self) -> str:
        """One spelling: `--max-model-len` is `max_model_len`; a short flag keeps its dash."""
        return self.written[2:].replace("-", "_") if self.written.startswith("--") else self.written

    @cached_property
    def subject(self) -> str:
        """What the flag sets: `--no-x` sets what `--x` sets."""
        return self.name.removeprefix("no_")

    def words(self) -> list[str]:
        """The flag as it stands in a command line."""
        return [f"{self.written}={self.values[0]}"] if self.inline else [self.written, *self.values]


@dataclass(frozen=True)
class Arguments:
    """A command line: words that belong to no flag, flags, words after `--`."""

    positional: tuple[str, ...]
    flags: tuple[Flag, ...]
    rest: tuple[str, ...]

    def words(self) -> list[str]:
        """The command line; `split` of it gives the same flags again."""
        flags = [word for flag in self.flags for word in flag.words()]
        return [*self.positional, *flags, *([_REST, *self.rest] if self.rest else [])]


def split(args: Sequence[str]) -> Arguments:
    """Read a command line. Never fails: whatever begins with no flag is a value or a positional word."""
    return _split(tuple(args))


@lru_cache(maxsize=32)  # whoever judges one asks for the same few again and again
def _split(args: tuple[str, ...]) -> Arguments:
    positional: list[str] = []
    flags: list[Flag] = []
    end = args.index(_REST) if _REST in args else len(args)
    begins = [index for index, word in enumerate(args[:end]) if _FLAG.match(word)]
    positional.extend(args[: begins[0] if begins else end])
    for index, following in zip(begins, [*begins[1:], end], strict=False):
        written, equals, value = args[index].partition("=")
        words = args[index + 1 : following]
        flags.append(Flag(index, written, (value,) if equals else words, bool(equals)))
        positional.extend(words if equals else ())
    return Arguments(tuple(positional), tuple(flags), args[end + 1 :])


def parse_flags(args: Sequence[str]) -> tuple[Flag, ...]:
    """The flags of a command line, in order."""
    return split(args).flags


def merge_args(
    runtime_args: Sequence[str], user_args: Sequence[str], repeatable: frozenset[str] = frozenset()
) -> list[str]:
    """The runtime's arguments with the user's over them.

    A flag that the user sets, in either spelling or as its `--no-` opposite, replaces every one of the
    runtime's, and those that set keys of it (`--a` replaces `--a.key`); those that the user repeats stay
    repeated. Flags in `repeatable` (names with `_`) add up instead: the runtime's stay. Positional words come
    first: after a flag they could be read as its value.
    """
    runtime, user = split(runtime_args), split(user_args)
    replaced = {flag.subject for flag in user.flags} - repeatable

    def stays(flag: Flag) -> bool:
        parents = itertools.accumulate(flag.subject.split("."), "{}.{}".format)
        return replaced.isdisjoint(parents)

    kept = tuple(flag for flag in runtime.flags if stays(flag))
    positional, rest = runtime.positional + user.positional, runtime.rest + user.rest
    return Arguments(positional, kept + user.flags, rest).words()


def flag_names(text: str) -> frozenset[str]:
    """Names of flags from a list that people write: `--a-b, c` are `a_b` and `c`."""
    words = re.split(r"[\s,]+", text)
    return frozenset(word.lstrip("-").replace("-", "_") for word in words if word.strip("-"))


def value_of(args: Sequence[str], name: str) -> str | None:
    """The value of the last `--name`; "" where it stands without one, None where it does not stand there."""
    wanted = name.lstrip("-").replace("-", "_")
    for flag in reversed(split(args).flags):
        if flag.name == wanted and flag.written.startswith("--"):
            return flag.values[0] if flag.values else ""
    return None
