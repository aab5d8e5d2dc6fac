"""Golden pairs: `golden/CASE.input.yaml` through validation, selection and rendering is `CASE.output.yaml`.

`python -m tests.serving.golden --write` writes the outputs anew; test_golden.py compares them. An input
holds one InferenceService, runtimes beside the shipped one, and settings where they are not the usual ones.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from stoker.configuration import load_args_schemas
from stoker.serving.admission.validate import validate_inference_service
from stoker.serving.api.objects import parse_inference_service, parse_runtime
from stoker.serving.problems import Invalid
from stoker.serving.rendering.render import render
from stoker.serving.rendering.selection import NoRuntime, select_runtime
from stoker.serving.settings import Settings
from tests import golden_pairs

FOLDER = Path(__file__).parent / "golden"
MANIFESTS = Path(__file__).parents[2] / "manifests"
CASES = golden_pairs.cases(FOLDER)


def shipped_runtime() -> dict[str, Any]:
    return yaml.safe_load((MANIFESTS / "runtimes" / "kserve-huggingfaceserver.yaml").read_text())


@functools.cache
def args_schemas() -> Mapping[str, dict[str, Any]]:
    return load_args_schemas(MANIFESTS / "runtimes" / "args-schema")


def output_of(case: str) -> str:
    """The output's text."""
    documents = list(yaml.safe_load_all((FOLDER / f"{case}.input.yaml").read_text()))
    by_kind = {
        kind: [each for each in documents if each["kind"] == kind] for kind in {d["kind"] for d in documents}
    }
    given = dict(by_kind["Settings"][0]) if "Settings" in by_kind else {"kind": "Settings"}
    settings = Settings.from_mapping({name: value for name, value in given.items() if name != "kind"})
    (isvc,) = by_kind["InferenceService"]
    objects = [
        *by_kind.get("ServingRuntime", []),
        *by_kind.get("ClusterServingRuntime", []),
        shipped_runtime(),
    ]
    runtimes = [parse_runtime(each) for each in objects]
    verdict = validate_inference_service(isvc, None, runtimes, settings, args_schemas=args_schemas())
    shown: dict[str, Any] = {
        "refused": [f"{problem.reason} {problem}" for problem in verdict.problems],
        "warnings": list(verdict.warnings),
    }
    shown = {name: value for name, value in shown.items() if value}
    try:
        parsed = parse_inference_service(isvc)
        selection = select_runtime(parsed, runtimes)
        shown["considered"] = [str(each) for each in selection.considered]
        rendered = render(parsed, selection.runtime, settings)
        shown |= {"inputs": rendered.inputs, "template": rendered.template}
    except NoRuntime as error:
        shown["noRuntime"] = {"reason": error.reason, "message": error.message}
    except Invalid as error:
        shown["notRendered"] = [str(problem) for problem in error.problems]
    return golden_pairs.dumped(shown)


if __name__ == "__main__":
    golden_pairs.main(__doc__, FOLDER, output_of)
