"""Whether a live object already is what we want."""

from __future__ import annotations

import copy
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.kube.difference import covers
from stoker.kube.quantity import parse_quantity

NOTHING: list[Any] = [None, "", [], {}, 0, False]

names = st.sampled_from(["a", "b", "limits", "cpu", "name"])
scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "0.5", "500m"])
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)
objects = st.dictionaries(names, documents, max_size=4)
# Without values that the server may leave out: there "absent" and "empty" are the same, and an object that
# lacks a field covers both a null and nothing.
full_documents = st.recursive(
    st.just(True) | st.integers(1, 3) | st.sampled_from(["x", "0.5", "500m"]),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3) | st.dictionaries(names, inner, min_size=1, max_size=3)
    ),
    max_leaves=12,
)
full_objects = st.dictionaries(names, full_documents, max_size=4)


def with_additions(live: Any, draw: st.DrawFn) -> Any:
    """As the server stores it: defaults added to maps at any depth, empty values dropped now and then."""
    if isinstance(live, list):
        return [with_additions(item, draw) for item in live]
    if not isinstance(live, dict):
        return live
    kept = {
        name: with_additions(value, draw) for name, value in live.items() if value or not draw(st.booleans())
    }
    return kept | draw(st.dictionaries(st.sampled_from(["server", "default"]), scalars, max_size=2))


@given(objects)
def test_an_object_covers_itself(obj: dict[str, Any]) -> None:
    assert covers(copy.deepcopy(obj), obj)


@given(st.data(), objects)
def test_what_the_server_adds_and_drops_is_no_difference(data: st.DataObject, wanted: dict[str, Any]) -> None:
    assert covers(with_additions(copy.deepcopy(wanted), data.draw), wanted)


@given(full_objects, full_objects, full_objects)
def test_covering_is_transitive_without_empty_values(
    a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]
) -> None:
    if covers(a, b) and covers(b, c):
        assert covers(a, c)


@given(objects, st.sampled_from(["a", "b"]), st.sampled_from(["y", 7, True, [1], {"n": 1}]))
def test_a_changed_field_is_a_difference(wanted: dict[str, Any], name: str, value: Any) -> None:
    live = copy.deepcopy(wanted)
    live.pop(name, None)
    assert not covers(live, wanted | {name: value})
    assert not covers(live | {name: "other"}, wanted | {name: value})


@pytest.mark.parametrize("nothing", NOTHING, ids=repr)
def test_an_empty_value_may_be_absent_but_not_something_else(nothing: Any) -> None:
    assert covers({}, {"field": nothing})
    assert covers({"field": None}, {"field": nothing})
    assert not covers({"field": "something"}, {"field": nothing})
    assert not covers({"field": ["something"]}, {"field": nothing})


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        (True, 1),
        (1, True),
        (False, ""),
        ("1", 1),
        ([1], [1, 2]),
        ([1, 2], [1]),
        ([1, 2], [2, 1]),
        ({"a": 1}, [1]),
    ],
)
def test_what_only_looks_alike_differs(live: Any, wanted: Any) -> None:
    assert not covers({"field": live}, {"field": wanted})


def container(**resources: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", "resources": resources}]}}


@pytest.mark.parametrize(
    ("live", "wanted"),
    [("500m", "0.5"), ("1Gi", "1024Mi"), ("1", 1), ("1500m", 1.5), ("1k", "1e3"), ("2", "2000m")],
)
def test_quantities_are_compared_by_value_where_the_api_has_quantities(live: Any, wanted: Any) -> None:
    assert covers(container(limits={"cpu": live}), container(limits={"cpu": wanted}))
    assert covers(container(requests={"cpu": live}), container(requests={"cpu": wanted}))
    volume = [{"name": "v", "emptyDir": {"sizeLimit": live}}]
    assert covers({"volumes": volume}, {"volumes": [{"name": "v", "emptyDir": {"sizeLimit": wanted}}]})
    # A flag or a variable of that value is a string like any other: changing it changes the program.
    assert not covers({"args": [live]}, {"args": [wanted]})
    assert not covers({"env": [{"name": "X", "value": live}]}, {"env": [{"name": "X", "value": wanted}]})


@pytest.mark.parametrize(("live", "wanted"), [("500m", "0.6"), ("1Gi", "1G"), ("1", "true"), ("1", True)])
def test_other_quantities_differ(live: Any, wanted: Any) -> None:
    assert not covers(container(limits={"cpu": live}), container(limits={"cpu": wanted}))


@given(
    st.integers(-(10**6), 10**6),
    st.sampled_from(["n", "u", "m", "", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]),
)
def test_a_quantity_is_its_number_times_its_unit(number: int, unit: str) -> None:
    letters = "KMGTPE"
    if unit.endswith("i"):
        factor = Fraction(1024) ** (letters.index(unit[0]) + 1)
    elif unit in ("n", "u", "m"):
        factor = Fraction(1, 10 ** {"n": 9, "u": 6, "m": 3}[unit])
    else:
        factor = Fraction(1000) ** (letters.index(unit.upper()) + 1 if unit else 0)
    assert parse_quantity(f"{number}{unit}") == number * factor


@pytest.mark.parametrize(
    "text", ["", "m", "1 Gi", "1gi", "0x1", "1e", "1Mi5", "--1", "1,5", True, None, [], "١"]
)
def test_what_is_no_quantity(text: Any) -> None:
    assert parse_quantity(text) is None
