"""vLLM's own parser of its engine's flags, and what it knows of each."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import vllm.config
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.utils.argparse_utils import FlexibleArgumentParser

from runtime.flags.kinds import truth
from runtime.flags.table import INSTEAD
from runtime.flags.tokens import Given


class Refused(Exception):
    """What vLLM's parser would have ended the program with."""


class Parser(FlexibleArgumentParser):  # type: ignore[misc]
    """vLLM's parser, raising `Refused` where it would end the program."""

    def error(self, message: str) -> NoReturn:
        """Raises Refused."""
        raise Refused(message)


@functools.cache
def parser() -> Parser:
    """The parser; it takes a second or two to make."""
    made = Parser(prog="runtime", add_help=False, allow_abbrev=False)
    AsyncEngineArgs.add_cli_args(made)
    return made


def action_of(given: Given) -> argparse.Action | None:
    """What the parser has for a flag; None where it has none, or the flag is written otherwise here."""
    spelling = given.name if given.name.startswith("-") else "--" + given.name.replace("_", "-")
    options = parser()._option_string_actions
    found = options.get(spelling)
    if found is None and spelling.startswith("-O"):
        found = options.get("--optimization-level")
    return None if found is not None and found.dest in INSTEAD else found


def names() -> list[str]:
    """The names of all flags that are taken."""
    return [action.dest for action in parser()._actions if action.dest not in INSTEAD]


def as_written(action: argparse.Action, given: Given) -> list[str]:
    """The words for vLLM's parser. It takes no value for what is true or false: `--x=false`, as flags of this
    program may be written, is `--no-x` there. Raises ValueError where the value is neither.
    """
    if action.nargs != 0 or not given.values:
        return given.arguments()
    (text,) = given.values
    denied = given.name.startswith("no_")
    wanted = [each for each in action.option_strings if each.startswith("--no-") == (truth(text) == denied)]
    return wanted[:1]


def reader(action: argparse.Action) -> Any:
    """What reads the flag's text: vLLM wraps readers ("int or None") in functions that keep them."""
    found: Any = action.type
    while getattr(found, "__name__", "") in ("_optional_type", "_parse_type"):
        inner = [cell.cell_contents for cell in found.__closure__ or () if callable(cell.cell_contents)]
        if not inner:
            break
        found = inner[0]
    return found


def bounds(action: argparse.Action) -> Sequence[Any]:
    """What vLLM's configuration asks of the value beyond its type (annotated-types' Ge, Lt and so on). The
    parser's groups have the names of the configuration's classes.
    """
    group: Any = vars(action)["container"]  # argparse's own, which its stubs leave out
    kind = getattr(vllm.config, group.title or "", None)
    fields: Mapping[str, Any] = getattr(kind, "__pydantic_fields__", {})
    field = fields.get(action.dest)
    return () if field is None else [each for each in field.metadata if type(each).__name__ in _BOUNDS]


_BOUNDS = frozenset({"Ge", "Gt", "Le", "Lt"})
