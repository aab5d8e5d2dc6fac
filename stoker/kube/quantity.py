"""Kubernetes quantities: "500m", "1.5Gi", "1e3"."""

from __future__ import annotations

import re
from fractions import Fraction

_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))"
    r"(?:(?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]{1,2}))?"
)
_FACTORS = {
    **{suffix: Fraction(1000) ** power for power, suffix in enumerate(("n", "u", "m"), start=-3)},
    **{suffix: Fraction(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{letter}i": Fraction(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
}


def parse_quantity(value: object) -> Fraction | None:
    """The exact value, or None where this is no quantity. Numbers are quantities: YAML has `cpu: 2`."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        return None
    number = Fraction(match["number"])
    if match["exponent"]:
        return number * Fraction(10) ** int(match["exponent"])
    return number * _FACTORS.get(match["suffix"] or "", Fraction(1))


def same_quantity(one: object, other: object) -> bool:
    """Whether both are quantities of the same value."""
    parsed = parse_quantity(one)
    return parsed is not None and parsed == parse_quantity(other)
