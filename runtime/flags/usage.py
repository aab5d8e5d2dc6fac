"""What `--help` prints."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from runtime.flags.bounds import BOUNDS
from runtime.flags.kinds import Flag
from runtime.flags.kserve import KSERVE
from runtime.flags.table import FLAGS

_WIDTH, _INDENT = 100, 8
_HEAD = (
    "usage: python -m runtime --model_id=ORG/NAME [--model_name=NAME] [flags]   serve a model",
    "       python -m runtime fetch [ID]                                        fetch one into the cache",
    "       python -m runtime args-schema                                       the flags as JSON Schema",
    "",
    "`-` and `_` are the same in flags; a value follows `=` or a space. On vLLM every flag of vLLM's",
    "engine is taken too. All that is wrong with a command line is said at once, with exit code 2.",
)


def usage() -> str:
    """Every flag with its meaning, choices and default, in three groups."""
    others = [flag for flag in FLAGS if flag not in BOUNDS and flag not in KSERVE]
    groups = {"Serving": others, "Limits (docs/limits.md)": BOUNDS, "As KServe's server has them": KSERVE}
    lines = [*_HEAD, *(line for title, flags in groups.items() for line in _group(title, flags))]
    return "\n".join(lines)


def _group(title: str, flags: Sequence[Flag]) -> Iterator[str]:
    yield f"\n{title}:"
    margin = " " * _INDENT
    for flag in flags:
        choices = f" One of {', '.join(flag.choices)}." if flag.choices else ""
        default = "" if flag.default in (None, (), False) else f" Default: {flag.default}."
        text = f"{flag.help}{choices}{default}"
        yield f"  --{flag.name}"
        yield textwrap.fill(
            text, _WIDTH, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
        )
