"""Kubernetes' quantities: `500m`, `3Gi`, `1e3`. Compared by value, never by how they are written."""

from __future__ import annotations

import functools
import re
from decimal import Decimal
from typing import Any

_FORM = re.compile(r"([+-]?)([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]+))?")
_LONGEST = 64  # characters; the API server's own numbers end far below
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_GREATEST_EXPONENT = 30


def parse(text: str | float) -> Decimal:
    """The value of a quantity; ValueError says what a quantity looks like."""
    written = str(text)
    return _parsed("" if isinstance(text, bool) or len(written) > _LONGEST else written)


@functools.lru_cache(maxsize=4096)
def _parsed(written: str) -> Decimal:
    match = _FORM.fullmatch(written)
    if match is None:
        raise ValueError(
            'must be a quantity: a number with an optional suffix, for example "500m", "2" or "4Gi"'
        )
    sign, number, suffix, exponent = match.groups()
    value = Decimal(sign + number)
    if exponent is not None:
        if abs(int(exponent)) > _GREATEST_EXPONENT:
            raise ValueError(f"must have an exponent of at most {_GREATEST_EXPONENT}")
        return value.scaleb(int(exponent))
    if suffix is None:
        return value
    return value.scaleb(_DECIMAL[suffix]) if suffix in _DECIMAL else value * (1 << _BINARY[suffix])


def canonical(value: Any) -> Any:
    """One way to write each value, for comparing and hashing: `1000m` and `1` become the same string.

    What is no quantity is given back as it is.
    """
    try:
        number = parse(value)
    except ValueError:
        return value
    return format(number.normalize(), "f") if number else "0"
