"""vLLM's own command line parser: the schema of its flags, and typed engine arguments from them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.utils.argparse_utils import FlexibleArgumentParser

from runtime.flags.nearest import nearest
from runtime.flags.parse import bad_flags, unknown_flag
from runtime.flags.table import BY_NAME, INSTEAD
from runtime.flags.tokens import Given

_JSON_TYPES: dict[Any, str | list[str]] = {
    str: "string",
    int: "integer",
    float: "number",
    json.loads: ["object", "string"],
}


class _Refused(Exception):
    pass


class _Parser(FlexibleArgumentParser):  # type: ignore[misc]
    """vLLM's parser, raising where it would end the program."""

    def error(self, message: str) -> NoReturn:
        raise _Refused(message)


def _parser() -> _Parser:
    parser = _Parser(prog="runtime", add_help=False, allow_abbrev=False)
    AsyncEngineArgs.add_cli_args(parser)
    return parser


def engine_args(given: Sequence[Given], fixed: Mapping[str, Any]) -> AsyncEngineArgs:
    """vLLM's engine arguments from flags, each read by vLLM itself.

    `fixed` are values that the runtime sets (model, names, ...), by vLLM's names. Raises
    Failure(InvalidArgument) that lists every flag that vLLM does not know or take.
    """
    parser = _parser()
    problems: list[str] = []
    arguments: list[str] = []
    for each in given:
        action = _action(parser, each)
        if action is None:
            problems.append(unknown_flag(each.written, [*BY_NAME, *_names(parser)]))
        elif (problem := _problem(parser, action, each)) is not None:
            problems.append(problem)
        else:
            arguments += each.arguments()
    if problems:
        raise bad_flags(problems)
    try:
        namespace = parser.parse_args(arguments)
    except _Refused as refused:
        raise bad_flags([str(refused)]) from refused
    for name, value in fixed.items():
        setattr(namespace, name, value)
    return AsyncEngineArgs.from_cli_args(namespace)


def written(given: Iterable[Given]) -> set[str]:
    """The vLLM names (argparse destinations) of the flags that a user wrote."""
    parser = _parser()
    actions = (_action(parser, each) for each in given)
    return {action.dest for action in actions if action is not None}


def _action(parser: _Parser, given: Given) -> argparse.Action | None:
    spelling = given.name if given.name.startswith("-") else "--" + given.name.replace("_", "-")
    found = parser._option_string_actions.get(spelling)
    if found is None and spelling.startswith("-O"):
        found = parser._option_string_actions.get("--optimization-level")
    return None if found is not None and found.dest in INSTEAD else found


def _problem(parser: _Parser, action: argparse.Action, given: Given) -> str | None:
    """What vLLM's parser has against one flag, seen alone so that one mistake hides no other."""
    try:
        parser.parse_args(given.arguments())
    except _Refused as refused:
        text = str(refused).split(": ", 1)[-1] if str(refused).startswith("argument ") else str(refused)
        text = " ".join(text.split())[:300]
        choices = [str(each) for each in action.choices or ()]
        close = nearest(given.values[0], choices) if choices and given.values else None
        return f"{' '.join(given.arguments())}: {text}" + (f"; did you mean {close}?" if close else "")
    except (SystemExit, ValueError, TypeError) as error:
        return f"{' '.join(given.arguments())}: {' '.join(str(error).split())[:300]}"
    return None


def _names(parser: _Parser) -> list[str]:
    return [action.dest for action in parser._actions if action.dest not in INSTEAD]


def properties() -> dict[str, dict[str, Any]]:
    """The JSON Schema of every flag of vLLM's engine, by name with `_`."""
    parser = _parser()
    found: dict[str, dict[str, Any]] = {}
    for action in parser._actions:
        long = [each for each in action.option_strings if each.startswith("--")]
        name = long[0][2:].replace("-", "_")
        aliases = [
            each[2:].replace("-", "_") if each.startswith("--") else each
            for each in action.option_strings
            if each != long[0] and each[2:].replace("-", "_") != f"no_{name}"
        ]
        found[name] = _schema(action) | ({"x-aliases": aliases} if aliases else {})
    return dict(sorted(found.items()))


def _schema(action: argparse.Action) -> dict[str, Any]:
    made: dict[str, Any]
    if action.nargs == 0:
        made = {"type": "boolean"}
    elif action.nargs in ("+", "*"):
        made = {"type": "array", "items": {"type": "string"}}
    elif choices := [each for each in action.choices or () if each is not None]:
        made = {"enum": choices}
    else:
        made = {"type": _value_type(action)}
    return made | _described(action)


def _value_type(action: argparse.Action) -> str | list[str]:
    reader: Any = action.type
    # vLLM wraps readers ("int or None") in functions that keep the reader in their closure.
    while getattr(reader, "__name__", "") in ("_optional_type", "_parse_type"):
        inner = [cell.cell_contents for cell in reader.__closure__ or () if callable(cell.cell_contents)]
        if not inner:
            break
        reader = inner[0]
    if reader in _JSON_TYPES:
        return _JSON_TYPES[reader]
    name = getattr(reader, "__name__", "")
    if name.startswith("human_readable"):
        return ["integer", "string"]
    return ["object", "string"] if name in ("parse_dataclass", "union_dict_and_str") else "string"


def _described(action: argparse.Action) -> dict[str, Any]:
    text = " ".join((action.help or "").replace("%%", "%").split())
    first = text.split(". ", 1)[0].rstrip(".")
    return {"description": first[:200]} if first else {}
