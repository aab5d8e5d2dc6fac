"""What changes a pod and what must not; values of users stay values."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.serving.api.objects import parse_inference_service, parse_runtime
from stoker.serving.problems import Invalid, child
from stoker.serving.rendering.expansion import expand, is_expanded
from stoker.serving.rendering.render import Rendered, inputs_of, render
from stoker.serving.settings import Settings

RUNTIME = parse_runtime(
    {
        "kind": "ClusterServingRuntime",
        "metadata": {"name": "r"},
        "spec": {
            "supportedModelFormats": [{"name": "m", "autoSelect": True}],
            "containers": [
                {
                    "name": "kserve-container",
                    "image": "r:1",
                    "args": ["--name={{.Name}}", "--team={{.Labels.team}}"],
                    "env": [{"name": "NOTE", "value": '{{.Annotations["a/note"]}}'}],
                }
            ],
        },
    }
)


def isvc(labels: dict[str, str] | None = None, note: str = "n", **predictor: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "x",
            "namespace": "default",
            "labels": {"team": "blue"} if labels is None else labels,
            "annotations": {"a/note": note},
        },
        "spec": {"predictor": {"model": {"modelFormat": {"name": "m"}, "args": ["--a=1"]}} | predictor},
    }


def rendered(obj: dict[str, Any], settings: Settings = Settings()) -> Rendered:  # noqa: B008 - frozen
    return render(parse_inference_service(obj), RUNTIME, settings)


@pytest.mark.parametrize(
    "edited",
    [
        isvc(labels={"team": "blue", "other": "label"}),
        isvc(minReplicas=3, maxReplicas=5),
        isvc(canaryTrafficPercent=10),
        isvc(timeout=60),
        isvc(deploymentStrategy={"type": "Recreate"}),
    ],
)
def test_what_is_not_in_the_pod_changes_nothing(edited: dict[str, Any]) -> None:
    assert rendered(edited) == rendered(isvc())


@pytest.mark.parametrize(
    "edited",
    [
        isvc(labels={"team": "red"}),
        isvc(note="other"),
        isvc(labels={"team": "blue"}, nodeSelector={"a": "b"}),
        isvc(annotations={"a": "b"}),
        isvc(model={"modelFormat": {"name": "m"}, "args": ["--a=2"]}),
    ],
)
def test_what_is_in_the_pod_changes_both(edited: dict[str, Any]) -> None:
    before, after = rendered(isvc()), rendered(edited)
    assert before.inputs != after.inputs
    assert before.template != after.template


def test_inputs_hold_the_values_that_placeholders_used_and_no_others() -> None:
    made = rendered(isvc(labels={"team": "blue", "other": "x"}))
    assert made.inputs["labels"] == {"team": "blue"}
    assert made.inputs["annotations"] == {"a/note": "n"}


def test_stored_inputs_are_found_again_without_the_runtime() -> None:
    obj = isvc(minReplicas=2)
    stored = rendered(obj).inputs
    again = inputs_of(parse_inference_service(obj), stored["labels"], stored["annotations"])
    assert again == stored
    moved = inputs_of(parse_inference_service(isvc(labels={})), stored["labels"], stored["annotations"])
    assert moved != stored


def test_equal_quantities_are_equal_inputs() -> None:
    def asking(cpu: str | int) -> dict[str, Any]:
        return isvc(model={"modelFormat": {"name": "m"}, "resources": {"limits": {"cpu": cpu}}})

    assert rendered(asking(1)).inputs == rendered(asking("1000m")).inputs != rendered(asking(2)).inputs


def test_rendering_changes_nothing_that_it_was_given() -> None:
    obj = isvc(nodeSelector={"a": "b"})
    parsed = parse_inference_service(obj)
    before = copy.deepcopy((obj, parsed, vars(RUNTIME)))
    template = render(parsed, RUNTIME, Settings()).template
    template["spec"]["containers"][0]["args"].append("changed")
    template["metadata"]["labels"]["changed"] = "changed"
    assert (obj, parsed, vars(RUNTIME)) == before


def test_the_grace_period_holds_the_whole_end_of_a_pod() -> None:
    settings = Settings(pre_stop_seconds=7, lame_duck_seconds=11, drain_seconds=100)
    spec = rendered(isvc(), settings).template["spec"]
    sleep = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert sleep == 7
    assert spec["terminationGracePeriodSeconds"] == settings.termination_grace_seconds == 7 + 11 + 100 + 10


@pytest.mark.parametrize("seconds", ["soon", "-5", "nan", "inf", "1e300"])
def test_a_drain_time_that_is_no_time_does_not_end_in_a_crash(seconds: str) -> None:
    args = [f"--drain_seconds={seconds}"]
    spec = rendered(isvc(model={"modelFormat": {"name": "m"}, "args": args})).template["spec"]
    assert spec["terminationGracePeriodSeconds"] == Settings().termination_grace_seconds


def test_no_sleep_where_none_is_wanted() -> None:
    container = rendered(isvc(), Settings(pre_stop_seconds=0)).template["spec"]["containers"][0]
    assert "lifecycle" not in container


def test_a_runtime_without_the_serving_container_is_named() -> None:
    broken = parse_runtime(
        {"kind": "ServingRuntime", "metadata": {"name": "odd"}, "spec": {"containers": [{"name": "other"}]}}
    )
    with pytest.raises(Invalid, match="no container called kserve-container, but other") as caught:
        render(parse_inference_service(isvc()), broken, Settings())
    assert caught.value.problems[0].field == "spec.predictor.model.runtime"


EVERYWHERE = parse_runtime(
    {
        "kind": "ClusterServingRuntime",
        "metadata": {"name": "everywhere"},
        "spec": {
            "supportedModelFormats": [{"name": "m", "autoSelect": True}],
            "annotations": {"note": '{{.Annotations["a/note"]}}'},
            "volumes": [
                {
                    "name": "v",
                    "configMap": {"name": "{{.Labels.team}}", "items": [{"key": "{{.Labels.team}}"}]},
                }
            ],
            "initContainers": [{"name": "i", "image": "i", "args": ['{{.Annotations["a/note"]}}', "$(A)"]}],
            "containers": [
                {
                    "name": "kserve-container",
                    "image": "r:{{.Labels.team}}",
                    "command": ["serve", "{{.Labels.team}}"],
                    "args": ['--note=<{{.Annotations["a/note"]}}>', "$(A)", "{{ jinja }}"],
                    "env": [{"name": "NOTE", "value": 'a{{.Annotations["a/note"]}}$'}],
                    "readinessProbe": {"httpGet": {"path": "/{{.Labels.team}}", "port": 1}},
                },
                {"name": "side", "image": "s", "args": ["{{.Labels.team}}{{.Labels.team}}"]},
            ],
        },
    }
)
hostile = st.text(max_size=20) | st.sampled_from(
    ["{{.Name}}", '{{.Annotations["a/note"]}}', '"}],"image":"evil', "$(A)", "$$(A)", "$", "\n- x: y", "\\"]
)


@given(hostile, hostile)
def test_values_of_metadata_appear_only_where_placeholders_stand(team: str, note: str) -> None:
    def made(labels: dict[str, str], note: str) -> Any:
        parsed = parse_inference_service(isvc(labels=labels, note=note))
        return render(parsed, EVERYWHERE, Settings()).template

    plain = made({"team": "@team@"}, "@note@")
    _same_but_for_values(plain, made({"team": team}, note), "", {"@team@": team, "@note@": note})


def _same_but_for_values(plain: Any, filled: Any, path: str, values: dict[str, str]) -> None:
    assert type(plain) is type(filled), path
    if isinstance(plain, dict):
        assert list(plain) == list(filled)
        for key, value in plain.items():
            _same_but_for_values(value, filled[key], child(path, key), values)
    elif isinstance(plain, list):
        assert len(plain) == len(filled)
        for number, value in enumerate(plain):
            _same_but_for_values(value, filled[number], child(path, number), values)
    elif isinstance(plain, str):
        # What the process sees: where the kubelet expands, its own variables and nothing of the values.
        seen = expand(filled, {"A": "secret"}) if is_expanded(path) else filled
        wanted = expand(plain, {"A": "secret"}) if is_expanded(path) else plain
        assert seen == re.sub("@team@|@note@", lambda match: values[match.group()], wanted), path
    else:
        assert plain == filled
