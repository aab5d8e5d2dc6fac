"""Rules, judged by promtool: each alert fires where it should, its quiet neighbour does not."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.monitoring import rules as generated
from stoker.local.failures import LocalError
from stoker.local.prometheus.program import program

from . import page, queries

RULES = page.ROOT / "manifests/monitoring/rules/stoker.yaml"
TESTS = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
RUNBOOK = page.ROOT / "docs/runbook.md"


@pytest.fixture(scope="session")
def promtool() -> Path:
    try:
        return program("promtool")
    except LocalError as problem:
        pytest.fail(str(problem))


@pytest.mark.parametrize("tests", TESTS, ids=lambda path: path.stem)
def test_promtool_agrees(promtool: Path, tests: Path, tmp_path: Path) -> None:
    done = _judge(promtool, tests, RULES.read_text(), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("case", "before", "after"),
    [
        (
            ("objectives", "the errors are over"),
            "and stoker:inferenceservice_availability:burn5m > 14.4",
            "",
        ),
        (("days", "one and a half times"), "and stoker:inferenceservice_availability:burn6h > 1", ""),
        (
            ("objectives", "the errors are over"),
            "stoker:inferenceservice_gateway_requests:rate5m > 0\n          or",
            "vector(0) > 1 or",
        ),
        (("objectives", "at the gateway"), 'status!~"5..",flags=~".*U(C|PE|R|T).*"', 'status="none"'),
        (("objectives", "two controllers tell"), '{reason="overloaded"}', '{reason=~".+"}'),
        (
            ("inferenceservices", "not ready for half an hour"),
            'unless max by (namespace, name) (stoker_inferenceservice_condition{condition="Stopped"}) == 1',
            "",
        ),
        (
            ("inferenceservices", "not ready for half an hour"),
            'and min by (namespace, name) (stoker_inferenceservice_condition{condition="IngressReady"}) == 1',
            "",
        ),
        (
            ("inferenceservices", "an update that does not come through"),
            'and max by (namespace, name) (stoker_inferenceservice_condition{condition="Pred',
            'or max by (namespace, name) (stoker_inferenceservice_condition{condition="Pred',
        ),
        (
            ("control-plane", "no controller at all"),
            '(max(leader_election_master_status{name="stoker-controller"}) or vector(0))',
            'max(leader_election_master_status{name="stoker-controller"})',
        ),
        (
            ("control-plane", "a leader and a standby"),
            "(max(leader_election_master_status",
            "(min(leader_election_master_status",
        ),
        (
            ("control-plane", "another operator has a leader"),
            'leader_election_master_status{name="stoker-controller"}',
            "leader_election_master_status",
        ),
        (
            ("control-plane", "a rule fails on an object"),
            'verdict="unjudged"}[15m]',
            'verdict="unjudged"}[45m]',
        ),
        (("control-plane", "no gateway at all"), "(sum(stoker_gateway_connected_envoys) or vector(0))", "up"),
        (("inferenceservices", "the queue grows; it is full"), "overloaded|queue_timeout", "queue_timeout"),
        (
            ("objectives", "refused at the gateway"),
            "* on (namespace, name) stoker:inferenceservice_overloaded_refusals:ratio_rate5m",
            "",
        ),
        (("objectives", "refused at the gateway"), "unless on (namespace, name) stoker_inf", "or stoker_inf"),
    ],
)
def test_a_planted_mistake_is_seen(
    promtool: Path, case: tuple[str, str], before: str, after: str, tmp_path: Path
) -> None:
    """By the case that is about it; the other ones of the file would take promtool ten times as long."""
    text = RULES.read_text()
    assert before in text
    stem, begins = case
    file = next(file for file in TESTS if file.stem == stem)
    done = _judge(promtool, file, text.replace(before, after), tmp_path, begins)
    assert done.returncode == 1
    assert "FAILED" in done.stdout + done.stderr


def test_each_alert_has_a_case_that_fires_and_one_that_is_quiet() -> None:
    fires, quiet = set(), set()
    for tests in TESTS:
        for test in yaml.safe_load(tests.read_text())["tests"]:
            for case in test.get("alert_rule_test", []):
                (fires if case["exp_alerts"] else quiet).add(case["alertname"])
                # More series than alerts: a neighbour in the same case that must not fire.
                if 0 < len(case["exp_alerts"]) < len(test["input_series"]):
                    quiet.add(case["alertname"])
    assert fires == _alerts().keys()
    assert quiet == _alerts().keys()


def test_each_alert_has_its_section_in_the_runbook_and_no_section_is_left_over() -> None:
    text = RUNBOOK.read_text()
    sections = {
        title.lower(): body for title, body in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    }
    for name, alert in _alerts().items():
        link = alert["annotations"]["runbook_url"]
        assert link == f"docs/runbook.md#{name.lower()}"
        assert len(sections[name.lower()].split()) > 20, name
    assert sections.keys() == {name.lower() for name in _alerts()}


def test_the_runbook_asks_for_metrics_that_there_are() -> None:
    asked = set(
        re.findall(
            r"\b(?:stoker_|stoker:|vllm:|envoy_|workqueue_|controller_runtime_)\w+", RUNBOOK.read_text()
        )
    )
    assert asked - page.known_series().keys() == set()
    assert len(asked) > 10


def test_the_runbook_looks_for_lines_that_programs_write() -> None:
    """What it greps for is in a call of a logger, or is a field of every line."""
    looked_for = set(re.findall(r"grep '?([\w ]+)'?`", RUNBOOK.read_text()))
    folders = ("controller", "webhook", "gateway", "stoker/kube")
    sources = "\n".join(file.read_text() for folder in folders for file in (page.ROOT / folder).rglob("*.py"))
    logged = re.findall(r"\blog\.\w+\(\s*\"([^\"]+)\"", sources)
    assert len(looked_for) > 5
    assert {words for words in looked_for if not any(words in line for line in logged)} == {"reconcile_id"}
    assert "reconcile_id=" in sources


@pytest.mark.parametrize("rule", generated.rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_reads_what_there_is(rule: dict[str, Any]) -> None:
    assert queries.reads(rule["expr"]).series
    assert queries.unknown(rule["expr"]) == []
    if "alert" in rule:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert {"summary", "description", "runbook_url"} == rule["annotations"].keys()


def test_the_page_lists_what_is_recorded() -> None:
    recorded = {rule["record"] for rule in generated.rules() if "record" in rule}
    assert recorded == {metric.name for metric in page.documented()["Recorded"]}


def test_the_operators_object_holds_the_same_rules() -> None:
    assert generated.OBJECT.read_text() == generated.prometheus_rule(), "`make generate` writes it anew"


def _alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in generated.rules() if "alert" in rule}


class _AsWritten(yaml.SafeLoader):
    """YAML in which `0x60`, a zero and sixty more, is no number."""


_AsWritten.yaml_implicit_resolvers = {
    first: [each for each in known if each[0] != "tag:yaml.org,2002:int"]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_AsWritten.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"-?[0-9]+$"), list("-0123456789"))


def _judge(
    promtool: Path, tests: Path, rules: str, where: Path, case: str = ""
) -> subprocess.CompletedProcess[str]:
    """`case`: how the names of the cases begin that are asked for."""
    (where / "rules.yaml").write_text(rules)
    document = yaml.load(tests.read_text(), _AsWritten) | {"rule_files": ["rules.yaml"]}
    document["tests"] = [each for each in document["tests"] if each["name"].startswith(case)]
    assert document["tests"], case
    # Unsaid, promtool takes the groups in any order, and at steps longer than the five minutes that a sample
    # is looked back for, an alert judged before its recordings finds none.
    document["group_eval_order"] = [group["name"] for group in yaml.safe_load(rules)["groups"]]
    (where / "tests.yaml").write_text(yaml.safe_dump(document))
    command = [promtool, "test", "rules", "tests.yaml"]
    return subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=60, check=False)
