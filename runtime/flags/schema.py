"""`python -m runtime args-schema`: the accepted flags as a JSON Schema, ours and vLLM's."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from typing import Any

from runtime import __version__
from runtime.flags import recorded
from runtime.flags.kinds import Flag
from runtime.flags.table import ALIASES, FLAGS, INSTEAD
from runtime.state import BackendName

_COMMENT = (
    "Read a command line as an object: the flag's name with `-` as `_`, its text turned into the property's "
    "type. A boolean flag without value is true, `--no-NAME` is false. A flag with an object may also be "
    "written key by key: --NAME.key.key=value. What may be null is unset by None and by an empty text. "
    "x-backends: where it is accepted. x-aliases: other spellings. x-instead: flags of vLLM and KServe "
    "that are refused, and what to write."
)
_USAGE = "usage: python -m runtime args-schema [--vllm]"


def main(arguments: Sequence[str]) -> int:
    """Prints the schema; with --vllm only the record of the installed vLLM's flags."""
    if list(arguments) == ["--vllm"]:
        document: dict[str, Any] = {
            "version": (recorded.installed_vllm() or "").split("+", 1)[0],
            "properties": installed_properties(),
        }
    elif arguments:
        print(_USAGE, file=sys.stderr)  # noqa: T201
        return 2
    else:
        has_vllm = importlib.util.find_spec("vllm") is not None
        document = schema(installed_properties() if has_vllm else recorded.load().properties)
    print(json.dumps(document, indent=2, ensure_ascii=False))  # noqa: T201
    return 0


def installed_properties() -> dict[str, dict[str, Any]]:
    """The flags of the installed vLLM's own parser that are accepted beside ours."""
    from runtime.engines.vllm.flags.schema import properties  # noqa: PLC0415 - loads vLLM

    ours = {flag.name for flag in FLAGS} | INSTEAD.keys() | ALIASES.keys()
    return {name: value for name, value in properties().items() if name not in ours}


def schema(vllm: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The JSON Schema of a command line, read as an object from flag name to value."""
    properties = {flag.name: _property(flag) for flag in FLAGS}
    properties |= {name: {**value, "x-backends": [BackendName.VLLM.value]} for name, value in vllm.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://stoker.dev/schemas/args/runtime-{__version__}.json",
        "title": f"Flags of python -m runtime {__version__}",
        "$comment": _COMMENT,
        "type": "object",
        "additionalProperties": False,
        "properties": {name: properties[name] for name in sorted(properties)},
        "x-instead": INSTEAD,
    }


def _property(flag: Flag) -> dict[str, Any]:
    made: dict[str, Any] = {**flag.kind.schema, "description": flag.help}
    if flag.choices:
        made["enum"] = list(flag.choices)
    if flag.default not in (None, ()):
        made["default"] = flag.default
    if aliases := [alias for alias, name in ALIASES.items() if name == flag.name]:
        made["x-aliases"] = aliases
    made["x-backends"] = sorted(backend.value for backend in flag.backends)
    return made
