"""Ways round the lists of `security`: words that are filled in later, and code that a value names.

The kubelet fills in `$(NAME)`, rendering `{{...}}`. Of what placeholders can say only annotations are free
text: names and the values of labels begin with a letter or a digit, and so make no flag of a word.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stoker.serving.rendering.arguments import Flag

EXECUTORS = frozenset({"mp", "ray", "uni", "external_launcher"})
"""vLLM's own `--distributed_executor_backend`; it imports any other by its name."""
BACKENDS = frozenset({"", "eager", "inductor"})
"""Of `--compilation_config`; it looks any other up by its name."""
CODE_KEYS = ("_plugin", "_module_path")
"""Ends of keys whose values vLLM imports: `kv_connector_module_path`, `reasoning_parser_plugin`."""
_COMPILATION = frozenset({"compilation_config", "-cc", "-O"})


def words(args: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Of a command line the words that may become a flag, and what is wrong with each."""
    for number, word in enumerate(args):
        head = word.partition("=")[0]
        if word.startswith("-") and ("$(" in head or "{{" in head):
            yield number, "which flag it will be cannot be seen: write its name out"
        elif word.startswith("$(") or (word.startswith("{{") and "Annotations" in word):
            yield number, "it could become a flag: write it behind one, --name=$(NAME)"


def code(flag: Flag) -> str | None:
    """How a flag's value brings code, or None."""
    first, *keys = flag.name.lower().split(".")
    value = flag.values[0] if flag.values else ""
    if first == "distributed_executor_backend":
        return None if value in EXECUTORS else f"imports code; without it only {', '.join(sorted(EXECUTORS))}"
    if keys:
        return _of_key(keys[-1], value, first)
    if not first.endswith("_config") and first not in _COMPILATION:
        return None
    if "$(" in value or ("{{" in value and "Annotations" in value):
        return "what it configures cannot be seen: write the value out"
    return _of_value(_parsed(value), first)


def free(value: Any) -> bool:
    """Whether a field is filled in only when the pod is made: what it will be cannot be judged."""
    return isinstance(value, str) and "{{" in value


def _parsed(value: str) -> Any:
    try:
        return json.loads(value) if value.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        return None  # refused as no JSON, or read by nobody


def _of_value(value: Any, first: str) -> str | None:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting.extend(each)
        elif isinstance(each, Mapping):
            for key, inner in each.items():
                if found := _of_key(key.lower(), inner, first):
                    return found
                waiting.append(inner)
    return None


def _of_key(key: str, value: Any, first: str) -> str | None:
    key = key.replace("-", "_")
    if key.endswith(CODE_KEYS) and value:
        return f"{key} imports code"
    if key == "backend" and first in _COMPILATION and value not in BACKENDS:
        return f"backend imports code; without it only {', '.join(sorted(BACKENDS - {''}))}"
    return None
