"""What a flag is, and how the text of each kind of value is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runtime.state import BackendName

ALL = frozenset(BackendName)
MODELS = frozenset({BackendName.VLLM, BackendName.HUGGINGFACE})
ECHO = frozenset({BackendName.ECHO})

_MULTIPLES = {
    "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40,
}  # fmt: skip
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True)
class Kind:
    """What a flag's text means: how it is read, how a schema says it, how it is named in messages."""

    read: Callable[[str], Any]
    schema: dict[str, Any]
    noun: str


def truth(text: str) -> bool:
    """Reads true/false, 1/0, yes/no, on/off."""
    lowered = text.lower()
    if lowered not in _TRUE | _FALSE:
        raise ValueError(text)
    return lowered in _TRUE


def length(text: str) -> int:
    """Reads a whole number as vLLM does: 4096, 16k (thousands), 16K (1024s); "auto" and -1 are -1."""
    if text.strip().lower() in ("auto", "-1"):
        return -1
    match = re.fullmatch(r"\s*([0-9]+)([kmgtKMGT]?)\s*", text)
    if match is None:
        raise ValueError(text)
    value = int(match[1]) * _MULTIPLES.get(match[2], 1)
    if value < 1:
        raise ValueError(text)
    return value


def length_above_0(text: str) -> int:
    """Reads a length that cannot be left to the model."""
    value = length(text)
    if value < 1:
        raise ValueError(text)
    return value


def _at_least(
    kind: type[int] | type[float], lowest: float, highest: float | None = None
) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = kind(text)
        if not value >= lowest or (highest is not None and value > highest):
            raise ValueError(text)
        return value

    return read


def _some(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


TEXT = Kind(str, {"type": "string"}, "text")
NAME = Kind(_some, {"type": "string", "minLength": 1}, "text that is not empty")
TEXTS = Kind(str, {"type": "array", "items": {"type": "string"}}, "text")
TRUTH = Kind(truth, {"type": "boolean"}, "true or false")
_DIGITS = "0*[1-9][0-9]*[kmgtKMGT]?"
LENGTH = Kind(
    length,
    {"type": ["integer", "string"], "pattern": rf"^\s*(-1|[Aa][Uu][Tt][Oo]|{_DIGITS})\s*$"},
    'a whole number such as 4096 or 16k, or "auto"',
)
WHOLE = Kind(int, {"type": "integer"}, "a whole number")
SIZE = Kind(
    length_above_0,
    {"type": ["integer", "string"], "minimum": 1, "pattern": rf"^\s*{_DIGITS}\s*$"},
    "a whole number such as 65536 or 64K",
)
COUNT = Kind(_at_least(int, 1), {"type": "integer", "minimum": 1}, "a whole number of at least 1")
AMOUNT = Kind(_at_least(int, 0), {"type": "integer", "minimum": 0}, "a whole number of at least 0")
PORT = Kind(
    _at_least(int, 0, 65535), {"type": "integer", "minimum": 0, "maximum": 65535}, "a port, 0 to 65535"
)
SECONDS = Kind(_at_least(float, 0), {"type": "number", "minimum": 0}, "seconds, 0 or more")
HOLD = Kind(
    _at_least(float, 0, 0.02), {"type": "number", "minimum": 0, "maximum": 0.02}, "seconds, 0 to 0.02"
)


@dataclass(frozen=True)
class Flag:
    """One flag of ours. `backends` are those on which it means something; elsewhere it is refused."""

    name: str
    kind: Kind
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    backends: frozenset[BackendName] = ALL


def only(value: int | bool, base: Kind, why: str) -> Kind:
    """A flag that has one meaning here; `why` says so where another value is given."""

    def read(text: str) -> int | bool:
        given = text.strip() if base is TEXT else base.read(text)
        if given != (str(value) if base is TEXT else value):
            raise ValueError(text)
        return value

    shown = str(value).lower()
    kind = "boolean" if isinstance(value, bool) else "integer"
    return Kind(read, {"type": kind, "const": value}, f"{shown}: {why}")


def is_truth(flag: Flag) -> bool:
    """Whether the flag may be written without a value, and as --no-NAME."""
    return bool(flag.kind.schema.get("type") == "boolean")
