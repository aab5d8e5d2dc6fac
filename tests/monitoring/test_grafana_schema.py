"""The dashboards against Grafana's schema: its own readers know every field, and give back what was written.

No Grafana is at hand; the models of grafana-foundation-sdk are generated from its schemas, panels included.
What a reader does not know is gone from what it writes again.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from scripts.monitoring import generated

_BOARDS = {
    path.stem: json.loads(path.read_text()) for path in (generated.FOLDER / "dashboards").glob("*.json")
}


@pytest.fixture(autouse=True, scope="module")
def _panels_are_known() -> None:
    plugins.register_default_plugins()


def _lost(given: Any, read: Any, where: str = "") -> Iterator[str]:
    """Paths of what the reader dropped or changed; defaults that it adds are no loss."""
    if isinstance(given, dict) and isinstance(read, dict):
        for key, value in given.items():
            if key in read:
                yield from _lost(value, read[key], f"{where}.{key}")
            else:
                yield f"{where}.{key}"
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        for number, (one, other) in enumerate(zip(given, read, strict=True)):
            yield from _lost(one, other, f"{where}[{number}]")
    elif given != read:
        yield where


def _read(board: dict[str, Any]) -> Any:
    return json.loads(json.dumps(Dashboard.from_json(copy.deepcopy(board)), cls=JSONEncoder))


@pytest.mark.parametrize("name", _BOARDS)
def test_grafanas_reader_knows_every_field(name: str) -> None:
    assert list(_lost(_BOARDS[name], _read(_BOARDS[name]))) == []


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ((), "refreshes"),
        (("templating", "list", 0), "multiple"),
        (("panels", 1), "unit"),
        (("panels", 1, "gridPos"), "height"),
        (("panels", 1, "targets", 0), "expression"),
        (("panels", 1, "fieldConfig", "defaults"), "units"),
    ],
)
def test_a_field_that_grafana_does_not_have_is_seen(place: tuple[str | int, ...], key: str) -> None:
    board = copy.deepcopy(_BOARDS["fleet"])
    found: Any = board
    for step in place:
        found = found[step]
    found[key] = "x"
    (lost,) = _lost(board, _read(board))
    assert lost.endswith(f".{key}")
