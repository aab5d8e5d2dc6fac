"""`stoker validate`: the webhook's verdict on files, line by line, and what the exit status says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from stoker.cli.validate import validate_command
from stoker.cli.validation.documents import Unreadable, read_documents
from stoker.cli.validation.schema import Schemas

SAMPLES = Path(__file__).parents[2] / "manifests" / "samples"
GOOD = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: good
spec:
  predictor:
    model:
      modelFormat: {name: huggingface}
      args: [--model_id=a/b]
"""
BAD = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: bad
  lables: {a: b}
spec:
  predictor:
    minReplicas: "3"
    maxReplicas: 20
    maxReplicas: 2000
    model:
      modelFormat:
        name: huggingface
      protocolVersion: v7
      args:
        - --model_id=a/b
        - --port=7
      env:
        - {name: A, value: "1"}
        - {name: A, value: "2"}
"""
RUNTIME = """\
apiVersion: serving.kserve.io/v1alpha1
kind: ServingRuntime
metadata: {name: mine}
spec:
  supportedModelFormats: [{name: odd, autoSelect: true}]
  containers: [{name: kserve-container, image: "x.y/z:1", args: [serve]}]
"""


def validate(*arguments: str, given: str = "") -> Result:
    return CliRunner().invoke(validate_command, list(arguments), input=given)


def test_the_shipped_samples_and_runtimes_would_be_stored() -> None:
    done = validate("-f", str(SAMPLES), "-f", str(SAMPLES.parent / "runtimes"))
    assert done.exit_code == 0, done.output
    assert "4 objects would be stored" in done.stderr


def test_an_entry_that_is_there_twice_is_told_of_once(tmp_path: Path) -> None:
    file = tmp_path / "service.yaml"
    file.write_text(
        GOOD + '      env: [{name: A, value: "1"}, {name: A, value: "2"}, {name: A, value: "3"}]\n'
    )
    done = validate("-f", str(file))
    told = [line for line in done.stdout.splitlines() if "Duplicate" in line]
    assert len(told) == 2, done.stdout
    assert [f"env[{number}].name" in line for number, line in zip((1, 2), told, strict=True)] == [True, True]


def test_every_problem_has_its_line_its_document_its_field_and_the_way_out(tmp_path: Path) -> None:
    file = tmp_path / "services.yaml"
    file.write_text(f"{GOOD}---\n{BAD}---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: c}}}}\n")
    done = validate("-f", str(file))
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    begin = len(GOOD.splitlines()) + 1
    for number, field, words in [
        (5, "metadata.lables", 'did you mean "labels"?'),
        (8, "spec.predictor.minReplicas", "must be a whole number"),
        (9, "spec.predictor.maxReplicas", "Duplicate value"),
        (9, "spec.predictor.maxReplicas", "1000"),
        (14, "spec.predictor.model.protocolVersion", 'supported values: "grpc-v1", "grpc-v2", "v1", "v2"'),
        (20, "spec.predictor.model.env[1]", "Duplicate value"),
    ]:
        start = f"{file}:{begin + number}: document 2, InferenceService bad: {field}"
        assert any(line.startswith(start) and words in line for line in lines), (start, words, lines)
    assert not any("document 1," in line for line in lines)
    assert any("document 3, ConfigMap c: passed over" in line for line in lines)
    order = [int(line.split(":")[1]) for line in lines]
    assert order == sorted(order)
    assert "1 of 2 objects would be refused" in done.stderr


def test_flags_are_checked_against_the_runtimes_schema() -> None:
    done = validate("-f", "-", given=GOOD.replace("]\n", ", --modle_name=c]\n"))
    assert done.exit_code == 1
    assert done.stdout.startswith("stdin:9: document 1, InferenceService good: spec.predictor.model.args[1]")
    assert "did you mean --model_name?" in done.stdout


def test_what_cannot_be_read_is_told_from_what_is_refused(tmp_path: Path) -> None:
    for text, words in [
        ("a: [", "stdin:"),
        ("- 1", "must be an object"),
        ("{apiVersion: v1, kind: ConfigMap}", "no InferenceService"),
        ("", "no InferenceService"),
        ("a: &a [*a]", "nested too deeply"),
    ]:
        done = validate("-f", "-", given=text)
        assert (done.exit_code, words in done.stderr) == (2, True), (text, done.output)
    missing = validate("-f", str(tmp_path / "none.yaml"))
    assert (missing.exit_code, "No such file" in missing.stderr) == (2, True)
    settings = tmp_path / "settings.yaml"
    settings.write_text("domian: x")
    assert validate("-f", "-", f"--settings-file={settings}", given=GOOD).exit_code == 2
    assert validate("-f", "-", "--kubeconfig=/does/not/exist", given=GOOD).exit_code == 2


def test_runtimes_come_from_the_same_file_from_others_or_from_what_ships(tmp_path: Path) -> None:
    needs = GOOD.replace("huggingface", "odd").replace("--model_id=a/b", "--x")
    runtimes = tmp_path / "runtimes.yaml"
    runtimes.write_text(RUNTIME)
    assert validate("-f", "-", given=needs).exit_code == 1
    assert validate("-f", "-", given=f"{needs}---\n{RUNTIME}").exit_code == 0
    assert validate("-f", "-", f"--runtimes={runtimes}", given=needs).exit_code == 0
    assert validate("-f", "-", f"--runtimes={runtimes}", given=GOOD).exit_code == 1, "nothing ships then"
    elsewhere = validate(
        "-f", "-", "-n", "b", f"--runtimes={runtimes}", given=needs.replace("good", "good\n  namespace: c")
    )
    assert elsewhere.exit_code == 1, "a namespace has no use of another's runtimes"


def test_json_lists_and_kinds_that_do_not_exist() -> None:
    items: list[Any] = [yaml.safe_load(GOOD), yaml.safe_load(GOOD) | {"kind": "InferenceServise"}]
    items.append(yaml.safe_load(GOOD) | {"apiVersion": "serving.kserve.io/v1"})
    listed = {"apiVersion": "v1", "kind": "List", "items": items}
    done = validate("-f", "-", given=json.dumps(listed, indent=1))
    assert done.exit_code == 1
    assert 'kind: Unsupported value: "InferenceServise"' in done.stdout
    assert 'apiVersion: Unsupported value: "serving.kserve.io/v1": supported values: "serving' in done.stdout
    assert "2 of 3 objects would be refused" in done.stderr


def test_a_field_that_is_missing_has_the_line_of_what_it_is_missing_in() -> None:
    (document,) = read_documents("x", "a:\n  b:\n  - c: 1\n    d/e: 2\n")
    assert document.line("a.b[0][d/e]") == 4
    assert document.line("a.b[0].x.y") == 3
    assert document.line("z") == 1
    with pytest.raises(Unreadable, match=r"^x:3: "):
        read_documents("x", "a: 1\n---\nb: 1: 2\n")


@pytest.mark.parametrize("kind", ["InferenceService", "ServingRuntime", "ClusterServingRuntime"])
def test_the_schemas_are_those_of_the_crds(kind: str) -> None:
    schemas = Schemas()
    version = next(version for version, each in schemas.kinds if each == kind)
    found = schemas.check({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": 3, "x": 1})
    assert {(problem.field, problem.reason) for problem in found} == {
        ("spec", "FieldValueInvalid"),
        ("x", "FieldValueNotSupported"),
    }
