"""Panels in few words: a title, what it tells, a unit, and queries with their legends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models import prometheus as prometheus_models

_SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Panel = timeseries.Panel | heatmap.Panel | table.Panel | stat.Panel


@dataclass(frozen=True)
class Query:
    """`legend` is Grafana's: `{{label}}` is replaced. In a table it is the column's title."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Variable:
    """A choice that is filled with a label's values; `of`: the metric that has it."""

    name: str
    title: str
    tells: str
    of: str
    label: str
    several: bool = True


NAMESPACE = Variable(
    "namespace", "Namespace", "Of the InferenceServices.", "stoker_inferenceservice_ready", "namespace"
)


def lines(title: str, tells: str, unit: str, *queries: Query, width: int = 12) -> timeseries.Panel:
    """Lines over time, at zero where they begin."""
    panel = timeseries.Panel().title(title).description(tells).unit(unit).datasource(_SOURCE)
    legend = common.VizLegendOptions().display_mode(common_models.LegendDisplayMode.LIST)
    panel = panel.span(width).height(8).min(0).fill_opacity(8)
    panel = panel.legend(legend.placement(common_models.LegendPlacement.BOTTOM).show_legend(True))
    panel = panel.tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    for query in _queries(queries):
        panel = panel.with_target(query)
    return panel


def heat(title: str, tells: str, unit: str, histogram: str, selection: str) -> heatmap.Panel:
    """How a histogram's observations spread, over time."""
    expr = f"sum by (le) (rate({histogram}_bucket{{{selection}}}[$__rate_interval]))"
    axis = heatmap_models.YAxisConfig(unit=unit)
    query = _query("A", Query(expr, "{{le}}")).format(prometheus_models.PromQueryFormat.HEATMAP)
    panel = heatmap.Panel().title(title).description(tells).unit("reqps").datasource(_SOURCE)
    return panel.span(8).height(8).calculate(False).y_axis(_Axis(axis)).with_target(query)


class _Axis(heatmap.YAxisConfig):
    def __init__(self, axis: heatmap_models.YAxisConfig) -> None:
        super().__init__()
        self._internal = axis


def number(title: str, tells: str, unit: str, query: Query, width: int = 4) -> stat.Panel:
    """One number: now."""
    panel = stat.Panel().title(title).description(tells).unit(unit).datasource(_SOURCE).no_value("0")
    return panel.span(width).height(4).with_target(_query("A", query).instant())


def listing(
    title: str, tells: str, hidden: Sequence[str], columns: Sequence[tuple[Query, str]]
) -> table.Panel:
    """A table: one row per set of labels, one column per query, which has its own unit."""
    panel = table.Panel().title(title).description(tells).datasource(_SOURCE).span(24).height(10)
    renamed = {}
    for letter, (query, unit) in zip(_LETTERS[: len(columns)], columns, strict=True):
        format_ = prometheus_models.PromQueryFormat.TABLE
        panel = panel.with_target(_query(letter, query).instant().format(format_))
        renamed[f"Value #{letter}"] = query.legend
        value = models.DynamicConfigValue(id_val="unit", value=unit)
        panel = panel.override_by_name(query.legend, [value])
    options = {"excludeByName": dict.fromkeys(("Time", *hidden), True), "renameByName": renamed}
    for id_, how in (("merge", {}), ("organize", options)):
        panel = panel.with_transformation(models.DataTransformerConfig(id_val=id_, options=how))
    return panel


def page(
    uid: str,
    title: str,
    tells: str,
    variables: Sequence[Variable],
    rows: Sequence[tuple[str, Sequence[Panel]]],
) -> models.Dashboard:
    """A dashboard: rows of panels, and the choices above them, the data source first."""
    made = dashboard.Dashboard(title).uid(uid).description(tells).tags(["stoker"]).refresh("30s")
    made = made.time("now-1h", "now").timezone("browser").tooltip(models.DashboardCursorSync.CROSSHAIR)
    source = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    made = made.with_variable(source.description("The Prometheus that scrapes Stoker."))
    for each in variables:
        made = made.with_variable(_variable(each))
    for name, panels in rows:
        made = made.with_row(dashboard.Row(name))
        for panel in panels:
            made = made.with_panel(panel)
    return _placed(made.build())


def _placed(board: models.Dashboard) -> models.Dashboard:
    # The SDK lets a panel that is wider than what is left of a line stand out of the page.
    x = y = height = 0
    for number, panel in enumerate(board.panels or [], start=1):
        panel.id_val = number
        at = panel.grid_pos
        assert at is not None
        if isinstance(panel, models.RowPanel) or x + at.w > 24:
            x, y, height = 0, y + height, 0
        at.x, at.y = x, y
        x, height = x + at.w, max(height, at.h)
    return board


def _variable(wanted: Variable) -> dashboard.QueryVariable:
    made = dashboard.QueryVariable(wanted.name).label(wanted.title).description(wanted.tells)
    made = made.datasource(_SOURCE).query(f"label_values({wanted.of}, {wanted.label})")
    made = made.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(
        models.VariableSort.ALPHABETICAL_ASC
    )
    if wanted.several:
        made = made.include_all(True).multi(True).all_value(".*")
        made = made.current(models.VariableOption(text="All", value="$__all"))
    return made


def _queries(queries: Sequence[Query]) -> list[prometheus.Dataquery]:
    return [_query(letter, query) for letter, query in zip(_LETTERS[: len(queries)], queries, strict=True)]


def _query(letter: str, query: Query) -> prometheus.Dataquery:
    made = prometheus.Dataquery().ref_id(letter).expr(query.expr).legend_format(query.legend)
    return made.datasource(_SOURCE)
