"""Values in the units of the panels, as Grafana would write them."""

from __future__ import annotations

_TIMES = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"))
_SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_AFTER = {"reqps": " req/s", "ops": " ops/s", "cps": "/s", "wps": "/s", "rps": "/s"}


def written(value: float, unit: str) -> str:
    """A value with its unit: `0.25`, `s` -> `250 ms`."""
    if unit == "percentunit":
        return f"{_short(value * 100)} %"
    if unit == "percent":
        return f"{_short(value)} %"
    if unit == "bool_yes_no":
        return "yes" if value else "no"
    for name, scale in (("s", _TIMES), ("bytes", _SIZES)):
        if unit == name and value:
            size, word = next((each for each in scale if abs(value) >= each[0] * 0.9999), scale[-1])
            return f"{_short(value / size)} {word}"
    prefix, _, own = unit.partition("suffix:")
    return _short(value) + (own if not prefix and own else _AFTER.get(unit, ""))


def _short(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
