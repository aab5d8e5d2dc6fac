"""docs/metrics.md lists what the four programs export: not less, not more, nothing else."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from . import page

_EXPORTED = page.exported()


@pytest.mark.parametrize("program", _EXPORTED)
def test_the_page_and_the_program_agree(program: str) -> None:
    on_page = page.documented()[program]
    assert len({metric.name for metric in on_page}) == len(on_page), "a name stands on the page twice"
    assert {metric.name for metric in on_page} == {metric.name for metric in _EXPORTED[program]}
    assert set(on_page) == _EXPORTED[program], "type or labels differ"


@pytest.mark.parametrize("program", _EXPORTED)
def test_what_is_scraped_is_on_the_page(program: str) -> None:
    text = generate_latest(page.registries()[program]).decode()
    scraped = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    on_page = {name for metric in page.documented()[program] for name in metric.series}
    own = {name for name in scraped if not name.startswith(("process_", "python_gc_"))}
    assert own - on_page == set()
    assert {"process_start_time_seconds", "process_resident_memory_bytes"} <= scraped


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("| `stoker_gateway_snapshot_errors_total` | counter | none |", "| gone | counter | none |"),
        ("| `stoker_gateway_push_seconds` | histogram |", "| `stoker_gateway_push_seconds` | gauge |"),
        (
            "`stoker_gateway_pushes_total` | counter | `type` |",
            "`stoker_gateway_pushes_total` | counter | none |",
        ),
    ],
)
def test_a_row_that_is_missing_or_wrong_is_seen(before: str, after: str) -> None:
    text = page.PAGE.read_text()
    assert before in text
    assert set(page.documented(text.replace(before, after))["Gateway"]) != _EXPORTED["Gateway"]


def test_every_section_has_metrics_and_each_of_its_rows_is_read() -> None:
    text = page.PAGE.read_text()
    rows = sum(len(metrics) for metrics in page.documented().values())
    assert rows == text.count("\n| `")
    assert page.documented().keys() >= {"Runtime, vLLM alone", "Others", "Recorded"}


def test_what_is_said_of_vllm_is_in_vllm() -> None:
    found = importlib.util.find_spec("vllm")
    if found is None or found.origin is None:
        pytest.skip("vLLM is not installed")
    source = (Path(found.origin).parent / "v1/metrics/loggers.py").read_text()
    for section in ("Runtime", "Runtime, vLLM alone"):
        for metric in page.documented()[section]:
            if metric.name.startswith("vllm:"):
                assert f'"{metric.name.removesuffix("_total")}"' in source, metric.name
