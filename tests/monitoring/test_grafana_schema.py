"""What Grafana would refuse or show wrongly: judged by its own schema, and by what it checks beyond it."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from scripts.monitoring import generated

from . import grafana

_BOARDS = generated.boards()
_SCHEMA_VERSION = 41  # Grafana 11.6's; an older one is migrated when it is loaded, a newer one refused
_BUILT_IN = {"__rate_interval", "__range", "__all"}


@pytest.mark.parametrize("name", _BOARDS)
def test_grafanas_schema_knows_all_of_it(name: str) -> None:
    assert grafana.problems(_BOARDS[name]) == []


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """`panels.1.title` and so on."""

    def plant(board: dict[str, Any]) -> None:
        *way, last = path.split(".")
        found: Any = board
        for step in way:
            found = found[int(step)] if isinstance(found, list) else found[step]
        found[last] = value

    return plant


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (_set("panles", []), "dashboard.panles: unknown"),
        (_set("panels.1.titel", "x"), "titel: unknown"),
        (_set("panels.1.title", 7), "title: 7 is no str"),
        (_set("panels.1.gridPos.w", "12"), "'12' is no int"),
        (_set("panels.1.fieldConfig.defaults.units", "s"), "units: unknown"),
        (_set("panels.1.targets.0.expression", "up"), "expression: unknown"),
        (_set("panels.1.targets.0.expr", None), "expr: None is no str"),
        (_set("panels.9.options.colour", "x"), "colour: unknown"),
        (_set("templating.list.0.type", "data source"), "data source"),
        (_set("templating.list.0.multiple", True), "multiple: unknown"),
        (_set("panels.1.gridPos.height", 4), "height: unknown"),
        (_set("graphTooltip", 5), "5"),
        (_set("tags", "stoker"), "'stoker' is no list"),
    ],
)
def test_a_mistake_is_seen(plant: Callable[[dict[str, Any]], None], words: str) -> None:
    board = copy.deepcopy(_BOARDS["fleet"])
    plant(board)
    try:
        found = grafana.problems(board)
    except ValueError as problem:  # the reader itself refuses a word that is not its enum's
        found = [str(problem)]
    assert any(words in each for each in found), found


@pytest.mark.parametrize("name", _BOARDS)
def test_ids_are_there_once_and_the_version_is_grafanas(name: str) -> None:
    board = _BOARDS[name]
    assert board["schemaVersion"] == _SCHEMA_VERSION
    assert re.fullmatch(r"[a-z0-9-]{1,40}", board["uid"])
    assert board.get("id") is None, "Grafana gives it"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert min(ids) > 0
    titles = [(panel["type"], panel["title"]) for panel in board["panels"]]
    assert len(set(titles)) == len(titles), "a link to a panel names it by its title"


@pytest.mark.parametrize("name", _BOARDS)
def test_places_are_within_the_grid_and_rows_take_a_line(name: str) -> None:
    for panel in _BOARDS[name]["panels"]:
        at = panel["gridPos"]
        assert 0 <= at["x"] < at["x"] + at["w"] <= 24, panel["title"]
        assert at["h"] >= 1, panel["title"]
        if panel["type"] == "row":
            assert (at["x"], at["w"], at["h"]) == (0, 24, 1)
            assert panel["collapsed"] is False
            assert panel["panels"] == []


@pytest.mark.parametrize("name", _BOARDS)
def test_every_variable_is_defined_before_it_is_used(name: str) -> None:
    board = _BOARDS[name]
    defined: set[str] = set()
    for variable in board["templating"]["list"]:
        assert _variables(variable) - _BUILT_IN <= defined, f"{variable['name']} uses what comes after it"
        defined.add(variable["name"])
        if variable["type"] == "query":
            assert variable["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert re.fullmatch(r"label_values\(.+, \w+\)", variable["query"]), variable["query"]
    assert _variables(board["panels"]) - _BUILT_IN <= defined


@pytest.mark.parametrize("name", _BOARDS)
def test_queries_of_a_panel_have_letters_of_their_own_and_the_chosen_source(name: str) -> None:
    for panel in _BOARDS[name]["panels"]:
        if panel["type"] == "row":
            continue
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == [chr(ord("A") + number) for number in range(len(letters))], panel["title"]
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert source == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]


def _variables(part: Any) -> set[str]:
    """Grafana's variables in it: `$name` and `${name}`."""
    return {one or other for one, other in re.findall(r"\$(?:\{(\w+)[^}]*\}|(\w+))", json.dumps(part))}
