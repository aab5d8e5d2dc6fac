"""What vLLM has against the flags that are meant for it.

Its own parser ends the program at the first mistake, and what is out of bounds only comes out when a model's
configuration is made. Here each flag is judged alone, so that one mistake hides no other.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from runtime.engines.vllm.flags.parser import Refused, action_of, as_written, bounds, names, parser, reader
from runtime.failures import chain
from runtime.flags.kinds import SIZE
from runtime.flags.nearest import nearest
from runtime.flags.parse import unknown_flag
from runtime.flags.table import BY_NAME
from runtime.flags.tokens import Given

_LONGEST = 300  # characters of what vLLM says of one flag
_NOUNS: dict[Any, str] = {int: "a whole number", float: "a number", json.loads: "JSON"}


def problems(given: Sequence[Given]) -> list[str]:
    """All that is wrong, a sentence for each flag, in their order."""
    return [problem for each in given if (problem := _problem(each)) is not None]


def _problem(given: Given) -> str | None:
    action = action_of(given)
    if action is None:
        return unknown_flag(given.written, [*BY_NAME, *names()])
    written = " ".join(given.arguments())
    if not given.dotted and (counted := _counted(action, given)) is not None:
        return f"{written}: {counted}"
    try:
        namespace = parser().parse_args(as_written(action, given))
    except (Refused, SystemExit, ValueError, TypeError, LookupError) as error:
        return f"{written}: {_why(action, given, error)}"
    why = _beyond(action, getattr(namespace, action.dest))
    return None if why is None else f"{written}: {why}"


def _counted(action: argparse.Action, given: Given) -> str | None:
    """What is wrong with how many values there are."""
    count = len(given.values)
    if action.nargs == 0:
        return None if count <= 1 else "takes no value, or true or false"
    if action.nargs is None and count != 1:
        return f"takes one value{_choices(action)}, got {' '.join(given.values) or 'none'}"
    return "takes at least one value" if action.nargs == "+" and not count else None


def _choices(action: argparse.Action) -> str:
    known = [str(each) for each in action.choices or () if each is not None]
    return f", one of {', '.join(known)}" if known else ""


def _why(action: argparse.Action, given: Given, error: BaseException) -> str:
    """vLLM's refusal, in the words that this program has for its own flags."""
    value = given.values[0] if given.values else ""
    if action.nargs == 0:
        return "must be true or false, or the flag alone"
    if action.choices:
        known = [str(each) for each in action.choices if each is not None]
        wrong = next((each for each in given.values if each not in known), value)
        close = nearest(wrong, known)
        return f"is one of {', '.join(known)}" + (f"; did you mean {close}?" if close else "")
    for each in chain(error):
        if isinstance(each, ValidationError):
            return "; ".join(_invalid(action, one) for one in each.errors(include_url=False))[:_LONGEST]
    kind = reader(action)
    if getattr(kind, "__name__", "").startswith("human_readable"):
        return f"must be {SIZE.noun}"
    if kind in _NOUNS and not given.dotted:
        return f"must be {_NOUNS[kind]}"
    text = str(error)
    text = text.split(": ", 1)[-1] if text.startswith("argument ") else text
    return " ".join(text.split())[:_LONGEST]


def _invalid(action: argparse.Action, error: Any) -> str:
    """One problem that a configuration's class has with an object's text."""
    where = ".".join(str(each) for each in error["loc"])
    if error["type"] != "unexpected_keyword_argument":
        text = str(error["msg"]).removeprefix("Value error, ")
        return f"{where}: {text}" if where else text
    kind = next((each for each in reader(action).__defaults__ or () if dataclasses.is_dataclass(each)), None)
    known = [field.name for field in dataclasses.fields(kind)] if kind and len(error["loc"]) == 1 else []
    close = nearest(where, known)
    return f"{where}: no such key" + (f"; did you mean {close}?" if close else "")


def _beyond(action: argparse.Action, value: Any) -> str | None:
    """What is wrong with a number that is one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    for bound in bounds(action):
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(Annotated[type(value), bound])  # type: ignore[arg-type]
            adapter.validate_python(value)
        except ValidationError as error:
            return str(error.errors(include_url=False)[0]["msg"]).replace("Input should", "must")
    return None
