"""The dashboards are what the code makes, and each query reads what there is."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.monitoring import generated, listing
from stoker.local.prometheus.program import program

from . import queries

_BOARDS = {path.stem: json.loads(text) for path, text in generated.files().items() if path.suffix == ".json"}


def _panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, board in _BOARDS.items():
        for panel in board["panels"]:
            if panel["type"] != "row":
                yield name, panel


def _queries() -> dict[str, str]:
    return {
        f"{name}: {panel['title']} {target['refId']}": target["expr"]
        for name, panel in _panels()
        for target in panel["targets"]
    }


@pytest.mark.parametrize("path", generated.files(), ids=lambda path: path.name)
def test_what_is_committed_is_what_the_code_makes(path: Path) -> None:
    assert path.read_text() == generated.files()[path], "`make generate` writes it anew"


def test_there_are_three_and_nothing_else_in_the_folder() -> None:
    assert _BOARDS.keys() == {"fleet", "service", "control-plane"}
    assert {path.stem for path in (generated.FOLDER / "dashboards").glob("*.json")} == _BOARDS.keys()
    assert len({board["uid"] for board in _BOARDS.values()}) == 3


def test_each_query_reads_metrics_and_labels_that_the_page_has() -> None:
    problems = {where: queries.unknown(expr) for where, expr in _queries().items()}
    assert {where: found for where, found in problems.items() if found} == {}
    assert all(queries.reads(expr).series for expr in _queries().values())


@pytest.mark.parametrize(
    ("expr", "problem"),
    [
        (
            "sum by (namespace) (rate(stoker_runtime_requests_total[5m]))",
            "no metric stoker_runtime_requests_total",
        ),
        ('workqueue_depth{queue="x"}', "workqueue_depth has no label queue"),
        ("sum by (route) (vllm:num_requests_waiting)", "nothing here has the label route"),
        (
            "histogram_quantile(0.5, sum by (le) (stoker_gateway_push_seconds_sum))",
            "nothing here has the label le",
        ),
    ],
)
def test_a_mistake_in_a_query_is_seen(expr: str, problem: str) -> None:
    assert queries.unknown(expr) == [problem]


def test_prometheus_parses_each_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"q:{number}", "expr": listing.chosen(expr)}
        for number, expr in enumerate(_queries().values())
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(
        [program("promtool"), "check", "rules", file], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_each_panel_says_what_it_shows_in_which_unit() -> None:
    for name, panel in _panels():
        where = f"{name}: {panel['title']}"
        assert panel["description"], where
        defaults, overrides = panel["fieldConfig"]["defaults"], panel["fieldConfig"]["overrides"]
        units = [each for rule in overrides for each in rule["properties"] if each["id"] == "unit"]
        assert "none" not in {defaults.get("unit"), *(each["value"] for each in units)}, where
        assert defaults.get("unit") or len(units) == len(panel["targets"]), where
        for target in panel["targets"]:
            assert target["legendFormat"], where
            assert target["datasource"]["uid"] == "${datasource}", where


def test_a_choice_that_a_query_uses_is_offered_and_the_other_way_round() -> None:
    for name, board in _BOARDS.items():
        offered = {each["name"] for each in board["templating"]["list"]}
        text = json.dumps([board["panels"], board["templating"]])
        assert {each for each in offered if f"${each}" in text or f"${{{each}}}" in text} == offered, name
        for choice in ("namespace", "service", "revision"):
            assert (f"${choice}" in text) <= (choice in offered), name
        for each in board["templating"]["list"]:
            assert each["label"], name
            assert each["description"], name


def test_panels_do_not_lie_on_each_other() -> None:
    for name, board in _BOARDS.items():
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            at = panel["gridPos"]
            cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
            assert not cells & taken, f"{name}: {panel['title']}"
            assert at["x"] + at["w"] <= 24
            taken |= cells
