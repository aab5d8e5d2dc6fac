"""The panels of all dashboards as plain data: for whoever runs their queries or draws them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scripts.monitoring import generated


@dataclass(frozen=True)
class ListedQuery:
    """One query of a panel. `legend` is Grafana's, in a table the column's title; `unit` is Grafana's too."""

    ref_id: str
    expr: str
    legend: str
    unit: str


@dataclass(frozen=True)
class ListedPanel:
    """One panel. `kind`: timeseries, heatmap, stat or table; `place`: x, y, width and height in Grafana's
    grid of 24 columns.
    """

    dashboard: str
    row: str
    title: str
    description: str
    kind: str
    unit: str
    place: tuple[int, int, int, int]
    queries: tuple[ListedQuery, ...]


def panels() -> list[ListedPanel]:
    """Every panel of every dashboard, in the order of the page."""
    return [panel for name, board in generated.boards().items() for panel in _listed(name, board)]


def chosen(
    expr: str,
    *,
    interval: str = "1m",
    window: str = "1h",
    namespace: str = ".*",
    service: str = ".*",
    revision: str = ".*",
) -> str:
    """The query with Grafana's variables filled in. `interval`: $__rate_interval; `window`: $__range."""
    values = {
        "$__rate_interval": interval,
        "$__range": window,
        "$namespace": namespace,
        "$service": service,
        "$revision": revision,
    }
    for variable, value in values.items():
        expr = expr.replace(variable, value)
    return expr


def _listed(name: str, board: dict[str, Any]) -> Iterator[ListedPanel]:
    row = ""
    for panel in board["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
            continue
        unit = panel["fieldConfig"]["defaults"].get("unit", "")
        columns = {
            rule["matcher"]["options"]: each["value"]
            for rule in panel["fieldConfig"]["overrides"]
            for each in rule["properties"]
            if each["id"] == "unit"
        }
        queries = tuple(
            ListedQuery(
                target["refId"],
                target["expr"],
                target["legendFormat"],
                columns.get(target["legendFormat"], unit),
            )
            for target in panel["targets"]
        )
        at = panel["gridPos"]
        place = (at["x"], at["y"], at["w"], at["h"])
        words = (panel["title"], panel["description"], panel["type"])
        yield ListedPanel(name, row, *words, unit, place, queries)
