"""Every value of a pod has a source that is said, and it is the right one."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from stoker.serving.api.objects import parse_inference_service, parse_runtime
from stoker.serving.rendering.leaves import leaves
from stoker.serving.rendering.origins import Origin, origins
from stoker.serving.rendering.render import render
from stoker.serving.rendering.selection import select_runtime
from stoker.serving.settings import Settings
from tests.serving import golden


def explained(case: str) -> tuple[dict[str, Any], tuple[Origin, ...]]:
    documents = list(yaml.safe_load_all((golden.FOLDER / f"{case}.input.yaml").read_text()))
    given = next((each for each in documents if each["kind"] == "Settings"), {})
    settings = Settings.from_mapping({name: value for name, value in given.items() if name != "kind"})
    (obj,) = (each for each in documents if each["kind"] == "InferenceService")
    runtimes = [each for each in documents if each["kind"].endswith("ServingRuntime")]
    isvc = parse_inference_service(obj)
    parsed = [parse_runtime(each) for each in [*runtimes, golden.shipped_runtime()]]
    runtime = select_runtime(isvc, parsed).runtime
    rendered = render(isvc, runtime, settings)
    return rendered.template, origins(isvc, runtime, rendered)


RENDERED = [
    case
    for case in golden.CASES
    if "template" in yaml.safe_load((golden.FOLDER / f"{case}.output.yaml").read_text())
]


@pytest.mark.parametrize("case", RENDERED)
def test_every_value_has_a_source_that_says_why(case: str) -> None:
    template, found = explained(case)
    assert [each.path for each in found] == list(leaves(template))
    assert [each.path for each in found if each.source == "Stoker's"] == []


def source(case: str, path: str) -> str:
    found = {each.path: each.source for each in explained(case)[1]}
    return found[path]


@pytest.mark.parametrize(
    ("case", "path", "words"),
    [
        (
            "seed",
            "spec.containers[kserve-container].args[--model_name]",
            "the InferenceService, over Cluster",
        ),
        ("seed", "spec.containers[kserve-container].env[HOME].value", "ClusterServingRuntime kserve-hugging"),
        ("seed", "spec.containers[kserve-container].image", "image_variants"),
        ("seed", "spec.containers[kserve-container].startupProbe.failureThreshold", "startup_deadline"),
        ("seed", "spec.terminationGracePeriodSeconds", "drain times"),
        ("seed", "metadata.labels[serving.kserve.io/inferenceservice]", "select pods"),
        ("pod-merge", "spec.nodeSelector.pool", "the InferenceService, over ServingRuntime full's runtime"),
        ("pod-merge", "spec.nodeSelector.arch", "ServingRuntime full"),
        ("pod-merge", "spec.initContainers[prepare].args[--for]", "ServingRuntime full"),
        ("pod-merge", "spec.topologySpreadConstraints[zone ScheduleAnyway].maxSkew", "the InferenceService"),
        ("pod-merge", "spec.volumes[cache-default].emptyDir", "ServingRuntime full"),
        (
            "limits-follow-requests",
            "spec.containers[kserve-container].resources.limits.cpu",
            "'s 2, brought into line",
        ),
        ("settings-of-the-installation", "spec.nodeSelector.accelerator", "image_variants"),
        (
            "settings-of-the-installation",
            "spec.containers[kserve-container].args[--drain_seconds]",
            "settings",
        ),
        ("storage-uri", "spec.containers[kserve-container].args[--storage_uri]", "storageUri"),
        ("pod-defaults-overridden", "spec.terminationGracePeriodSeconds", "the InferenceService"),
        ("kserve-images", "spec.containers[kserve-container].image", "image_variants"),
        ("custom-containers", "spec.containers[kserve-container].image", "the InferenceService"),
    ],
)
def test_a_source_is_the_right_one(case: str, path: str, words: str) -> None:
    assert words in source(case, path)
