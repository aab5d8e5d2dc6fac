"""`stoker explain`: the objects as YAML, the reasons as comments."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from stoker.cli.explain import explain_command
from stoker.local.control_plane import ApiServer

LLM = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: llm}
spec:
  predictor:
    minReplicas: 2
    maxReplicas: 4
    model:
      modelFormat: {name: huggingface}
      args: [--model_id=org/model]
      env: [{name: NOTE, value: "two\\nlines: not YAML"}]
"""
BROKEN = """
---
apiVersion: serving.kserve.io/v1alpha1
kind: ServingRuntime
metadata: {name: broken}
spec: {containers: {}}
"""


def explain(tmp_path: Path, text: str, *options: str) -> Result:
    file = tmp_path / "isvc.yaml"
    file.write_text(text)
    return CliRunner().invoke(explain_command, ["-f", str(file), *options])


def test_objects_are_yaml_and_reasons_are_comments(tmp_path: Path) -> None:
    done = explain(tmp_path, LLM)
    assert done.exit_code == 0, done.output
    objects = [each for each in yaml.safe_load_all(done.output) if each]
    assert [each["kind"] for each in objects] == ["Deployment", "Service", "PodDisruptionBudget"]
    assert objects[0]["spec"]["replicas"] == 2
    comments = [line for line in done.output.splitlines() if line.startswith("#")]
    for words in (
        "ClusterServingRuntime kserve-huggingfaceserver: selected",
        "spec.predictor.maxReplicas: has no effect yet",
        "env[NOTE].value = two lines: not YAML",
        "(setting startup_deadline)",
    ):
        assert any(words in line for line in comments), words


def test_settings_of_an_installation_count(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("startup_deadline: 60\n")
    done = explain(tmp_path, LLM, f"--settings-file={file}")
    assert "startupProbe.failureThreshold = 30 " in done.output


def test_what_would_be_refused_is_said_with_every_candidate(tmp_path: Path) -> None:
    done = explain(tmp_path, LLM.replace("huggingface}", "hugingface}") + BROKEN)
    assert done.exit_code == 1
    assert (
        "ClusterServingRuntime kserve-huggingfaceserver: it supports huggingface, not hugingface"
        in done.output
    )
    assert "ServingRuntime broken: it cannot be read: spec.containers: " in done.output
    assert "# Refused:" in done.output
    assert "kind: Deployment" not in done.output


@pytest.mark.parametrize("arguments", [[], ["a", "-f", "-"]])
def test_either_a_file_or_a_name(arguments: list[str]) -> None:
    done = CliRunner().invoke(explain_command, arguments)
    assert (done.exit_code, "either -f FILE or NAME" in done.output) == (2, True)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    done = explain(tmp_path, "kind: Pod")
    assert (done.exit_code, "one InferenceService is needed" in done.output) == (2, True)


@pytest.mark.apiserver
def test_a_name_on_a_cluster_is_explained_with_the_clusters_runtimes(
    api_server: ApiServer, kubectl_path: Path
) -> None:
    def kubectl(*args: str, given: Any = None) -> None:
        command = [str(kubectl_path), f"--kubeconfig={api_server.kubeconfig}", *args]
        text = None if given is None else json.dumps(given)
        subprocess.run(command, input=text, text=True, capture_output=True, check=True, timeout=60)

    runtime = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "mine", "namespace": "explained"},
        "spec": {
            "supportedModelFormats": [{"name": "mine", "autoSelect": True}],
            "containers": [{"name": "kserve-container", "image": "mine:1"}],
        },
    }
    isvc = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "llm", "namespace": "explained"},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "mine"}}}},
    }
    kubectl("create", "namespace", "explained")
    kubectl("apply", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": [runtime, isvc]})
    options = ["-n", "explained", f"--kubeconfig={api_server.kubeconfig}"]
    done = CliRunner().invoke(explain_command, ["llm", *options])
    # Controllers of other tests watch every namespace of this server.
    kubectl("delete", "isvc/llm", "servingruntime/mine", "--namespace=explained")
    assert done.exit_code == 0, done.output
    assert "ServingRuntime mine: selected: of this namespace" in done.output
    missing = CliRunner().invoke(explain_command, ["nobody", *options])
    assert (missing.exit_code, "error: the cluster cannot be asked" in missing.output) == (2, True)
