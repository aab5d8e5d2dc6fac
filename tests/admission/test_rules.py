"""What the table cannot say: warnings, what a namespace or an update allows, and everything at once."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from stoker.serving.admission.places import Place
from stoker.serving.admission.size import MOST_VALUES
from stoker.serving.admission.validate import Verdict, validate_inference_service, validate_runtime
from stoker.serving.api.objects import parse_runtime
from stoker.serving.settings import Settings
from tests.admission.cases import TABLE, Case
from tests.admission.table.objects import MODEL_ID, Object, args, gpus, isvc, model, own, runtime
from tests.serving import golden

SCHEMAS = golden.args_schemas()
RUNTIME = parse_runtime(golden.shipped_runtime())
_M = "spec.predictor.model"


def judge(obj: Object, old: Object | None = None, config: Settings = Settings(), **around: Any) -> Verdict:  # noqa: B008
    return validate_inference_service(obj, old, [RUNTIME], config, args_schemas=SCHEMAS, **around)


def judge_any(obj: Object, old: Object | None = None) -> Verdict:
    if obj["kind"] == "InferenceService":
        return judge(obj, old)
    return validate_runtime(obj, old, args_schemas=SCHEMAS)


def fields(verdict: Verdict) -> set[str]:
    return {problem.field for problem in verdict.problems}


# --- everything at once


def test_a_variable_without_a_name_is_asked_for_one() -> None:
    (problem,) = judge(model(env=[{"name": "", "value": "x"}])).problems
    assert (problem.field, problem.reason) == (f"{_M}.env[0].name", "FieldValueRequired")


def test_problems_of_every_kind_are_told_together() -> None:
    obj = isvc(
        "1x",
        model={
            "args": [MODEL_ID, "--sed=1", "--trust_remote_code", "--dtype=x"],
            "env": [{"name": "A", "valueFrom": {"secretRef": {}}}],
            "readinessProbe": {"httpGet": {"port": "htp"}},
            "resources": {"requests": {"cpu": "9"}, "limits": {"cpu": "1"}},
            "volumeMounts": [{"name": "nothing", "mountPath": "/x"}],
        },
        annotations={"stoker.dev/tubro": "1"},
        tolerations=[{"effect": "NoRun", "key": "a"}],
        workerSpec={"a": 1},
        minReplicas=2,
        maxReplicas=1,
    )
    assert fields(judge(obj)) == {
        "metadata.annotations[stoker.dev/tubro]",
        "metadata.name",
        "spec.predictor.maxReplicas",
        f"{_M}.args[1]",
        f"{_M}.args[2]",
        f"{_M}.args[3]",
        f"{_M}.env[0].valueFrom.secretRef",
        f"{_M}.readinessProbe.httpGet.port",
        f"{_M}.resources.requests.cpu",
        f"{_M}.volumeMounts[0].name",
        "spec.predictor.tolerations[0].effect",
        "spec.predictor.workerSpec",
    }


def test_without_a_runtime_the_pod_is_judged_as_it_is_written() -> None:
    obj = isvc(
        model={"modelFormat": {"name": "zzz"}, "livenessProbe": {"perid": 1}}, hostAliases=[{"host": "x"}]
    )
    assert fields(judge(obj)) == {
        f"{_M}.modelFormat.name",
        f"{_M}.livenessProbe.perid",
        "spec.predictor.hostAliases[0].ip",
        "spec.predictor.hostAliases[0].host",
    }


# --- updates


@pytest.mark.parametrize("case", TABLE, ids=[case.name for case in TABLE])
def test_what_is_stored_may_be_written_again(case: Case) -> None:
    first = judge_any(case.bad)
    again = judge_any(case.bad, copy.deepcopy(case.bad))
    assert again.allowed, again
    assert first == judge_any(case.bad)
    assert len([each for each in again.warnings if each.startswith("not new, so allowed")]) == len(
        first.problems
    )


def test_an_update_is_refused_for_the_new_mistake_alone() -> None:
    old = isvc(model={"env": [{"name": "LD_PRELOAD", "value": "x"}]}, tolerations=[{"effect": "NoRun"}])
    new = copy.deepcopy(old)
    new["spec"]["predictor"]["model"]["env"].insert(0, {"name": "PYTHONPATH", "value": "x"})
    new["spec"]["predictor"]["tolerations"].insert(0, {"key": "good"})
    verdict = judge(new, old)
    assert fields(verdict) == {f"{_M}.env[0].name"}
    assert any(f"{_M}.env[1].name" in each for each in verdict.warnings)


_ROOT = {"securityContext": {"privileged": True}}


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        (
            model(env=[{"name": "LD_PRELOAD", "value": "/a.so"}]),
            model(env=[{"name": "LD_PRELOAD", "value": "/b.so"}]),
            f"{_M}.env[0].name",
        ),
        (
            isvc(volumes=[{"name": "a", "hostPath": {"path": "/data"}}]),
            isvc(volumes=[{"name": "a", "hostPath": {"path": "/"}}]),
            "spec.predictor.volumes[0].hostPath",
        ),
        (
            model(ports=[{"containerPort": 80, "hostPort": 8080}]),
            model(ports=[{"containerPort": 80, "hostPort": 22}]),
            f"{_M}.ports[0].hostPort",
        ),
        (
            own({"name": "a", "image": "a:1", **_ROOT}, {"name": "b", "image": "b:1"}),
            own({"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1", **_ROOT}),
            "spec.predictor.containers[2].securityContext.privileged",
        ),
        (
            isvc(model={"command": ["true"] * MOST_VALUES}),
            isvc(model={"command": ["true"] * MOST_VALUES}, hostNetwork=True),
            "spec",
        ),
    ],
    ids=["variable", "hostPath", "hostPort", "privileged", "too large to be judged"],
)
def test_what_an_object_has_is_no_leave_for_another_value(before: Object, after: Object, field: str) -> None:
    assert fields(judge(after, before)) == {field}
    assert judge(after, copy.deepcopy(after)).allowed


def test_what_is_being_deleted_is_not_judged() -> None:
    for case in TABLE:
        obj = copy.deepcopy(case.bad)
        obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        assert judge_any(obj, case.good) == Verdict()


# --- devices


def test_more_devices_than_a_node_has_are_a_warning() -> None:
    obj = gpus(8, "--tensor_parallel_size=8")
    path = f"{_M}.resources.limits[nvidia.com/gpu]"
    assert judge(obj, largest_devices={"nvidia.com/gpu": 8}) == Verdict()
    (warning,) = judge(obj, largest_devices={"nvidia.com/gpu": 4}).warnings
    assert warning == f"{path}: the pod asks for 8, and the largest node has 4: it waits"
    assert "no node has any" in judge(obj, largest_devices={}).warnings[0]
    assert judge(obj, largest_devices=None) == Verdict()  # nothing is known of nodes


def test_a_device_that_no_node_has_is_told_of_with_the_nearest() -> None:
    obj = model(resources={"limits": {"nvida.com/gpu": 1}})
    path = f"{_M}.resources.limits[nvida.com/gpu]"
    warning = judge(obj, largest_devices={"nvidia.com/gpu": 8}).warnings[-1]
    said = 'the pod asks for 1, and no node has any: it waits; did you mean "nvidia.com/gpu"?'
    assert warning == f"{path}: {said}"
    assert "did you mean" not in judge(gpus(1), largest_devices={}).warnings[0]


def test_devices_that_the_flags_leave_idle_are_a_warning() -> None:
    verdict = judge(gpus(4))
    assert verdict.allowed
    assert verdict.warnings[0].endswith("4 devices, and one is used: add --tensor_parallel_size=4")
    assert judge(gpus(4, "--backend=huggingface")) == Verdict()


def test_ranks_without_devices_are_a_warning_since_cpus_have_ranks_too() -> None:
    verdict = judge(args("--tensor_parallel_size=2"))
    assert verdict.allowed
    assert "ask for 2 devices, and there is none" in verdict.warnings[0]


def test_ranks_of_the_runtime_count_and_the_limit_is_what_to_change() -> None:
    shipped = golden.shipped_runtime()
    shipped["spec"]["containers"][0]["args"].append("--tensor-parallel-size=2")
    runtimes = [parse_runtime(shipped)]
    verdict = validate_inference_service(gpus(4), None, runtimes, Settings(), args_schemas=SCHEMAS)
    assert fields(verdict) == {f"{_M}.resources.limits"}
    verdict = validate_inference_service(gpus(2), None, runtimes, Settings(), args_schemas=SCHEMAS)
    assert verdict == Verdict()


def test_data_parallel_ranks_of_this_pod_count() -> None:
    assert judge(gpus(4, "-tp=2", "-dp=2")) == Verdict()
    assert judge(gpus(2, "-tp=2", "-dp=4", "-dpl=1")) == Verdict()
    assert not judge(gpus(2, "-tp=2", "-dp=2")).allowed


def test_prefill_context_ranks_are_ranks_of_their_own() -> None:
    assert judge(gpus(4, "-tp=2", "--prefill-context-parallel-size=2")) == Verdict()
    assert not judge(gpus(2, "-tp=2", "--prefill-context-parallel-size=2")).allowed


@pytest.mark.parametrize(
    "beside",
    [{"vpc.amazonaws.com/efa": 4}, {"rdma/hca": 1}, {"nvidia.com/gpumem": 3000, "nvidia.com/gpucores": 50}],
)
def test_what_is_beside_a_device_is_not_counted(beside: Object) -> None:
    limits = {"nvidia.com/gpu": 1, **beside}
    assert judge(model(resources={"limits": limits})) == Verdict()
    limits["nvidia.com/gpu"] = 8
    words = [MODEL_ID, "-tp", "8"]
    assert judge(model(args=words, resources={"limits": limits})) == Verdict()
    verdict = judge(model(args=[*words[:-1], "4"], resources={"limits": limits}))
    assert "the container has 8" in str(verdict.problems)


def test_ranks_on_devices_that_the_settings_do_not_list_are_left_to_the_engine() -> None:
    verdict = judge(model(args=[MODEL_ID, "-tp=2"], resources={"limits": {"example.com/npu": 2}}))
    assert [each.partition("; ")[2] for each in verdict.warnings] == ["the one without is used"]


def test_devices_that_the_settings_list_are_counted() -> None:
    rows = {"accelerators": [{"resource": "example.com/npu", "image_suffix": "-npu"}]}
    config = Settings.from_mapping({"image_variants": rows})
    obj = model(args=[MODEL_ID, "-tp=4"], resources={"limits": {"example.com/npu": 2}})
    assert "the container has 2" in str(judge(obj, config=config).problems)


def test_a_flag_may_have_a_longer_name_too() -> None:
    for word in ("--max_length=6", "--max-length", "--device-memory-utilization=0.9"):
        assert judge(args(word, *(["6"] if "=" not in word else []))) == Verdict()


def test_values_are_taken_as_vllm_takes_them() -> None:
    sizes = '{"kv_connector_extra_config": {"cpu_bytes_to_use": 80m, "note": "80m"}}'
    for word in (f"--kv-transfer-config={sizes}", "--num-gpu-blocks-override=None", "--quantization="):
        assert judge(args(word)) == Verdict()
    assert not judge(args("--tensor-parallel-size=None")).allowed
    assert not judge(args(f"--speculative-config={sizes}")).allowed


# --- trust


def test_trust_is_the_namespaces_label_before_the_setting() -> None:
    obj = args("--trust_remote_code")
    trusted, restricted = {"stoker.dev/security": "trusted"}, {"stoker.dev/security": "restricted"}
    assert not judge(obj).allowed
    assert judge(obj, namespace_labels=trusted).allowed
    assert judge(obj, config=Settings(security="trusted")).allowed
    assert not judge(obj, config=Settings(security="trusted"), namespace_labels=restricted).allowed


def test_what_a_trusted_namespace_may_do_must_still_be_right() -> None:
    trusted = {"stoker.dev/security": "trusted"}
    obj = isvc(volumes=[{"name": "a", "hostPath": {"path": "/data/../etc"}}])
    assert fields(judge(obj, namespace_labels=trusted)) == {"spec.predictor.volumes[0].hostPath.path"}
    obj = isvc(volumes=[{"name": "a", "hostPath": {"path": "/data", "type": "directory"}}])
    assert fields(judge(obj, namespace_labels=trusted)) == {"spec.predictor.volumes[0].hostPath.type"}


def test_runtimes_of_the_cluster_are_their_administrators() -> None:
    obj = runtime(hostNetwork=True, container={"args": ["--trust-remote-code"]})
    assert not judge_any(obj).allowed
    assert judge_any(obj | {"kind": "ClusterServingRuntime"}).allowed


def test_flags_of_the_runtime_are_not_the_users() -> None:
    shipped = golden.shipped_runtime()
    shipped["spec"]["containers"][0]["args"].append("--trust_remote_code")
    verdict = validate_inference_service(
        isvc(), None, [parse_runtime(shipped)], Settings(), args_schemas=SCHEMAS
    )
    assert verdict.allowed


# --- secrets


def test_a_secret_that_all_may_read_is_a_warning_and_not_repeated() -> None:
    written = [{"name": "HF_TOKEN", "value": "hf_secret"}, {"name": "DB_PASSWORD", "value": "secret too"}]
    verdict = judge(isvc(model={"env": written}))
    assert verdict.allowed
    assert [each.partition(" ")[0] for each in verdict.warnings] == [
        f"{_M}.env[0].value:",
        f"{_M}.env[1].value:",
    ]
    assert all("secretKeyRef" in each and "secret too" not in each for each in verdict.warnings)
    assert "hf_secret" not in str(verdict)
    of_runtime = judge_any(runtime(container={"env": written[:1]}))
    assert of_runtime.warnings[0].startswith("spec.containers[0].env[0].value: HF_TOKEN: ")


def test_what_only_sounds_like_a_secret_or_is_kept_in_one_is_none() -> None:
    source = {"secretKeyRef": {"name": "hub", "key": "token"}}
    env = [
        {"name": "HF_TOKEN", "valueFrom": source},
        {"name": "HF_TOKEN_PATH", "value": "/secrets/token"},
        {"name": "STOP_TOKEN", "value": "</s>"},
        {"name": "OPENAI_API_KEY", "value": "$(HF_TOKEN)"},
        {"name": "GITHUB_TOKEN", "value": ""},
    ]
    assert judge(isvc(model={"env": env})) == Verdict()


# --- flags and keys that nobody knows


def test_flags_of_an_image_of_ones_own_are_warned_about() -> None:
    verdict = judge(model(image="mine:1", args=["--anything"]))
    assert verdict.allowed
    assert verdict.warnings == (
        f"{_M}.args: not checked: which flags an image of your own accepts is not known",
    )
    assert judge(own(args=["--anything"])) == Verdict()


def test_flags_of_a_command_of_ones_own_are_warned_about_and_its_model_is_fetched_for_it() -> None:
    verdict = judge(
        model(command=["vllm", "serve", "/mnt/models"], args=["--anything"], storageUri="hf://a/b")
    )
    assert verdict.allowed, verdict.problems
    assert verdict.warnings == (
        f"{_M}.args: not checked: which flags a command of your own accepts is not known",
    )


def test_a_key_of_kserve_that_is_near_no_other_is_a_warning() -> None:
    verdict = judge(isvc(annotations={"serving.kserve.io/quantum-mode": "on"}))
    assert verdict.allowed
    assert "Stoker does not know this key" in verdict.warnings[0]


def test_a_schema_that_is_missing_is_a_warning_for_its_runtime() -> None:
    verdict = judge_any(runtime(annotations={"stoker.dev/args-schema": "runtime-0.1"}))
    assert verdict.allowed
    assert 'did you mean "runtime-0.1.0"?' in verdict.warnings[0]


def test_runtimes_between_which_only_their_age_decides_are_a_warning() -> None:
    obj = runtime(supportedModelFormats=[{"name": "huggingface", "autoSelect": True, "priority": 1}])
    other = copy.deepcopy(obj)
    other["metadata"]["name"] = "older"
    verdict = validate_runtime(obj, None, others=[parse_runtime(other), parse_runtime(obj), RUNTIME])
    assert verdict.allowed
    assert verdict.warnings == (
        "spec.supportedModelFormats[0].priority: "
        "older has priority 1 for huggingface too; the newest is taken",
    )


# --- placeholders


def test_names_that_a_placeholder_fills_are_judged_when_it_is_filled() -> None:
    volumes = [{"name": "keys", "secret": {"secretName": "{{.Name}}-keys"}}]
    assert judge_any(runtime(volumes=volumes, serviceAccountName="{{.Name}}")) == Verdict()
    label = "{{.Labels.x}}"
    files = {"path": "x", "fieldRef": {"fieldPath": label}}
    probe = {"httpGet": {"port": 8080, "httpHeaders": [{"name": label, "value": "x"}]}}
    shown = [
        {"name": "A", "valueFrom": {"resourceFieldRef": {"resource": label}}},
        {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": label}}},
    ]
    later = runtime(
        container={"livenessProbe": probe, "env": shown},
        volumes=[
            {"name": "a", "nfs": {"server": label, "path": label}},
            {"name": "b", "downwardAPI": {"items": [files]}},
        ],
        tolerations=[{"key": "a", "operator": label}],
    )
    assert judge_any(later) == Verdict()


def test_a_placeholder_is_no_number() -> None:
    verdict = judge_any(runtime(securityContext={"runAsUser": '{{.Labels["user"]}}'}))
    assert fields(verdict) == {"spec.securityContext.runAsUser"}


def test_a_place_is_found_by_the_key_that_merging_goes_by() -> None:
    mine = {"env": [{"name": "B"}, {"name": "A"}]}
    env = Place("spec", mine).field("env")
    assert env.entry(0, {"name": "A"}, ("name",)).path == "spec.env[1]"
    assert env.entry(1, {"name": "C"}, ("name",)).path == "spec.env.C"
