from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.serving.quantities import canonical, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", "1"),
        (2, "2"),
        (0.5, "0.5"),
        ("500m", "0.5"),
        (".5", "0.5"),
        ("1.", "1"),
        ("-3", "-3"),
        ("+3", "3"),
        ("1k", "1000"),
        ("1Ki", "1024"),
        ("1.5Gi", "1610612736"),
        ("4E", "4e18"),
        ("4e3", "4000"),
        ("4E-3", "0.004"),
        ("100n", "1e-7"),
    ],
)
def test_parse(text: str | float, value: str) -> None:
    assert parse(text) == Decimal(value)


@pytest.mark.parametrize(
    "text", ["", "1GB", "1 Gi", "Gi", "one", "1K", "0x10", "1e", "--1", "1e999999999", "1" * 99, True]
)
def test_what_is_none(text: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        parse(text)


@pytest.mark.parametrize(
    "same", [("1", 1, "1000m", "1.0", "1e0"), ("1Gi", "1024Mi", 1073741824), ("0", "0m", "-0")]
)
def test_equal_values_are_written_alike(same: tuple[str | int, ...]) -> None:
    assert len({canonical(each) for each in same}) == 1


@given(st.decimals(min_value=0, max_value=10**15, places=3), st.sampled_from(["", "m", "k", "Mi", "Gi"]))
def test_canonical_keeps_the_value(number: Decimal, suffix: str) -> None:
    text = f"{number}{suffix}"
    assert parse(canonical(text)) == parse(text)
    assert canonical(canonical(text)) == canonical(text)


@given(st.one_of(st.text(max_size=10), st.none(), st.lists(st.integers(), max_size=2)))
def test_canonical_takes_anything(value: Any) -> None:
    canonical(value)
