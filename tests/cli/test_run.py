"""`stoker run`: what becomes of a container on a host, and what is said of what cannot."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from click.testing import CliRunner

from stoker.cli.run import host_process, read, run_command
from stoker.serving.problems import Invalid

SMOLLM2 = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: smollm2}
spec:
  predictor:
    model:
      modelFormat: {name: huggingface}
      args: [--model_id=HuggingFaceTB/SmolLM2-135M-Instruct]
"""


def process(text: str, port: int | None = None, **environ: str) -> Any:
    isvc, runtimes = read(text)
    return host_process(isvc, runtimes, port, {"HOME": "/home/me", **environ})


def test_the_shipped_runtime_becomes_this_interpreters_module() -> None:
    ran = process(SMOLLM2, 9000)
    assert ran.command[:3] == [sys.executable, "-m", "runtime"]
    assert "--model_name=smollm2" in ran.command
    assert "--model_id=HuggingFaceTB/SmolLM2-135M-Instruct" in ran.command
    assert ran.command[-1] == "--http_port=9000"
    assert ran.port == 9000


def test_the_home_directory_stays_the_hosts() -> None:
    assert process(SMOLLM2).environment["HOME"] == "/home/me", "the pod's HOME is a volume that is not here"


def test_models_come_from_stokers_own_cache() -> None:
    assert process(SMOLLM2, STOKER_CACHE="/c").environment["HF_HUB_CACHE"] == "/c/huggingface/hub"
    assert process(SMOLLM2, HF_HUB_CACHE="/mine").environment["HF_HUB_CACHE"] == "/mine"


def test_a_secret_of_the_cluster_is_named() -> None:
    env = "      env: [{name: HF_TOKEN, valueFrom: {secretKeyRef: {name: hf, key: token}}}]\n"
    assert any("HF_TOKEN" in note for note in process(SMOLLM2 + env).notes)
    assert not any("HF_TOKEN" in note for note in process(SMOLLM2 + env, HF_TOKEN="hf_x").notes)


def test_variables_are_expanded_as_the_kubelet_does() -> None:
    env = "      env: [{name: A, value: x}, {name: B, value: $(A)y}, {name: C, value: $(LATER)$$(A)}]\n"
    args = SMOLLM2.replace("args: [", "args: [--model_revision=$(B), --tokenizer_revision=$(PATH), ")
    ran = process(args + env, PATH="/bin")
    assert "--model_revision=xy" in ran.command
    assert "--tokenizer_revision=$(PATH)" in ran.command, "a variable of the host is none of the container's"
    assert ran.environment["C"] == "$(LATER)$(A)"


def test_an_image_of_ones_own_needs_a_command() -> None:
    custom = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: mine}
spec:
  predictor:
    containers: [{name: kserve-container, image: "example.com/mine:1"%s}]
"""
    with pytest.raises(Invalid, match=r"command: the entry point of image example\.com/mine:1 is not known"):
        process(custom % "")
    assert process(custom % ", command: [serve], args: [--fast]").command == ["serve", "--fast"]


def test_storage_uris() -> None:
    stored = SMOLLM2.replace("args: [--model_id=HuggingFaceTB/SmolLM2-135M-Instruct]", "storageUri: %s")
    assert "--storage_uri=file:///data/m" in process(stored % "file:///data/m").command
    mounted = process(stored % "pvc://claim/m")
    assert any("volumes of the cluster are not here" in note for note in mounted.notes)
    custom = process(stored % "hf://org/model\n      image: example.com/mine:1\n      command: [serve]")
    assert any("storage-initializer is not run" in note for note in custom.notes)


def test_mistakes_are_listed_with_their_paths_and_nothing_runs() -> None:
    wrong = SMOLLM2.replace("--model_id=", "--model_idd=").replace(
        "      args", "      resources: {requests: {cpu: '4'}, limits: {cpu: '2'}}\n      args"
    )
    done = CliRunner().invoke(run_command, ["-f", "-"], input=wrong)
    assert done.exit_code == 2
    assert "spec.predictor.model.args[0]" in done.output
    assert "--model_id" in done.output
    assert "spec.predictor.model.resources" in done.output


def test_two_services_are_refused() -> None:
    done = CliRunner().invoke(run_command, ["-f", "-"], input=f"{SMOLLM2}---{SMOLLM2}")
    assert (done.exit_code, done.output) == (
        2,
        "error: kind: one InferenceService is needed and 2 are here\n",
    )
