"""storageUri: what is read out of it, what is refused, and the pod that comes of it."""

from __future__ import annotations

import string
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtime.failures import Failure
from runtime.storage import uri as runtime_uri
from stoker.serving.admission.sources import check_sources, source_warnings
from stoker.serving.api.objects import (
    InferenceService,
    ServingRuntime,
    parse_inference_service,
    parse_runtime,
)
from stoker.serving.problems import FieldProblem
from stoker.serving.rendering.storage import (
    FETCHES_ANNOTATION,
    SECRET_ANNOTATION,
    annotations_read,
    apply_storage,
    source_of,
)
from stoker.serving.rendering.storage_uri import StorageUri, read
from stoker.serving.settings import Settings

Object = dict[str, Any]
LOCAL = Settings(file_uris=True)
FIELD = "spec.predictor.model.storageUri"


def isvc(uri: str | None = None, annotations: dict[str, str] | None = None, **model: Any) -> InferenceService:
    written: Object = {"modelFormat": {"name": "huggingface"}, **model}
    if uri is not None:
        written["storageUri"] = uri
    return parse_inference_service(
        {
            "metadata": {"name": "m", "namespace": "n", "annotations": annotations or {}},
            "spec": {"predictor": {"model": written}},
        }
    )


def runtime(*, fetches: bool, **container: Any) -> ServingRuntime:
    return parse_runtime(
        {
            "kind": "ClusterServingRuntime",
            "metadata": {"name": "r", "annotations": {FETCHES_ANNOTATION: "true"} if fetches else {}},
            "spec": {"containers": [{"name": "kserve-container", "image": "r:1", **container}]},
        }
    )


OWN, OTHER = runtime(fetches=True), runtime(fetches=False)


def rendered(
    service: InferenceService,
    of: ServingRuntime | None,
    spec: Object | None = None,
    settings: Settings = LOCAL,
) -> tuple[Object, list[FieldProblem]]:
    problems: list[FieldProblem] = []
    given = spec or {"containers": [{"name": "kserve-container", "image": "r:1", "args": ["--model_name=m"]}]}
    return apply_storage(given, service, of, settings, problems), problems


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf://org/model", ("hf", "org/model", "", None)),
        ("hf://org/model:v1.0", ("hf", "org/model", "", "v1.0")),
        ("hf://org/model@refs/pr/1", ("hf", "org/model", "", "refs/pr/1")),
        ("hf://a/b:" + "c" * 40, ("hf", "a/b", "", "c" * 40)),
        ("s3://bucket", ("s3", "bucket", "", None)),
        ("s3://my.bucket-1/a/b c".replace(" ", "_") + "/", ("s3", "my.bucket-1", "a/b_c", None)),
        ("pvc://claim", ("pvc", "claim", "", None)),
        ("pvc://claim.x-1/models/m", ("pvc", "claim.x-1", "models/m", None)),
        ("file:///data/m/", ("file", "", "/data/m", None)),
    ],
)
def test_what_a_uri_names(text: str, parts: tuple[str, str, str, str | None]) -> None:
    uri, problems = read(text, FIELD, file_uris=True)
    assert problems == []
    assert uri == StorageUri(*parts, text=text)
    other = runtime_uri.parse(text)
    assert (other.scheme, other.place, other.path, other.revision) == parts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("org/model", "must begin with hf://, s3://, pvc:// or file://"),
        ("h://org/model", 'Unsupported value: "h"'),
        ("S3://bucket/x", 'did you mean "s3"?'),
        ("pcv://claim", 'did you mean "pvc"?'),
        ("gs://bucket/x", "Google's storage speaks S3 too"),
        ("oci://image", "copy the model onto a volume"),
        ("hf://model", "must be hf://OWNER/MODEL"),
        ("hf://org/model/sub", "exactly an owner and a model, no folder in it"),
        ("hf://org/model:", "nothing is no branch, tag or commit"),
        ("hf://org/mo--del", "must be hf://OWNER/MODEL"),
        ("hf://org/model@a/../b", "must not have '.' or '..'"),
        ("s3://", "names no bucket"),
        ("s3:///x", "names no bucket"),
        ("s3://Bucket/x", "is no name of a bucket"),
        ("s3://bucket/../other", "must not have '.' or '..'"),
        ("s3://bucket/a b", "without spaces"),
        ("pvc://", "names no claim"),
        ("pvc:///models", "names no claim"),
        ("pvc://Claim/x", "is no name of a PersistentVolumeClaim"),
        ("pvc://claim/a/../../b", "must not have '.' or '..'"),
        ("file://data", "must be file:///PATH"),
        ("file:///", "must be file:///PATH"),
        ("file:///a/../etc", "must not have '.' or '..'"),
        ("s3://bucket/" + "x" * 3000, "at most 2048 characters"),
    ],
)
def test_what_a_uri_must_not_be(text: str, words: str) -> None:
    uri, problems = read(text, FIELD, file_uris=True)
    assert uri is None
    assert words in " ".join(problem.message for problem in problems)
    assert {problem.field for problem in problems} == {FIELD}


def test_a_folder_of_the_node_only_where_the_settings_allow_it() -> None:
    uri, problems = read("file:///data", FIELD, file_uris=False)
    assert uri is None
    assert "only a local cluster" in problems[0].message
    assert "file://" not in read("x", FIELD, file_uris=False)[1][0].message


_PIECES = st.sampled_from(
    ["hf://", "s3://", "pvc://", "file://", "/", "..", ".", ":", "@", "a", "B", "-", "a.b", "é"]
)


@given(st.lists(_PIECES, max_size=8).map("".join) | st.text(string.printable, max_size=30))
@example("file:////../x")
@example("hf://a/b:c@d")
def test_what_admission_lets_through_the_pod_understands(text: str) -> None:
    uri, problems = read(text, FIELD, file_uris=True)
    if uri is None:
        assert problems
        return
    try:
        other = runtime_uri.parse(text)
    except Failure as failure:
        raise AssertionError(f"{text}: {failure.message}") from failure
    assert (uri.scheme, uri.place, uri.path, uri.revision) == (
        other.scheme,
        other.place,
        other.path,
        other.revision,
    )
    assert ".." not in uri.path.split("/")


@pytest.mark.parametrize("uri", ["hf://org/model", "s3://bucket/x"])
def test_stokers_runtime_fetches_by_itself(uri: str) -> None:
    spec, problems = rendered(isvc(uri), OWN)
    assert problems == []
    assert spec["containers"][0]["args"] == ["--model_name=m", f"--storage_uri={uri}"]
    assert spec.keys() == {"containers"}
    assert source_of({"spec": spec}) == uri


def test_another_image_gets_an_init_container() -> None:
    spec, problems = rendered(isvc("s3://bucket/x"), OTHER)
    assert problems == []
    (starting,) = spec["initContainers"]
    assert starting["command"] == ["python", "-m", "runtime", "fetch"]
    assert starting["args"] == ["s3://bucket/x", "/mnt/models"]
    security = starting["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["runAsUser"] == 65532
    serving = spec["containers"][0]
    assert serving["args"] == ["--model_name=m"]
    (mount,) = serving["volumeMounts"]
    assert mount == {"name": "kserve-provision-location", "mountPath": "/mnt/models", "readOnly": True}
    assert {"name": "kserve-provision-location", "emptyDir": {}} in spec["volumes"]
    assert source_of({"spec": spec}) == "s3://bucket/x"


def test_an_image_of_ones_own_on_stokers_runtime_gets_an_init_container_too() -> None:
    spec, _ = rendered(isvc("hf://org/model", image="mine:1"), OWN)
    assert spec["initContainers"][0]["args"][0] == "hf://org/model"
    assert "--storage_uri=hf://org/model" not in spec["containers"][0]["args"]


def test_users_init_containers_come_after_the_model() -> None:
    given = {"containers": [{"name": "kserve-container"}], "initContainers": [{"name": "look"}]}
    spec, _ = rendered(isvc("hf://org/model"), OTHER, given)
    assert [each["name"] for each in spec["initContainers"]] == ["storage-initializer", "look"]


@pytest.mark.parametrize("of", [OWN, OTHER], ids=["own", "other"])
def test_a_claim_is_mounted_read_only(of: ServingRuntime) -> None:
    spec, problems = rendered(isvc("pvc://claim/models/m"), of)
    assert problems == []
    assert "initContainers" not in spec
    assert spec["volumes"] == [{"name": "kserve-pvc-source", "persistentVolumeClaim": {"claimName": "claim"}}]
    assert spec["containers"][0]["volumeMounts"] == [
        {"name": "kserve-pvc-source", "mountPath": "/mnt/models", "readOnly": True, "subPath": "models/m"}
    ]
    assert source_of({"spec": spec}) == "pvc://claim/models/m"


def test_a_claim_may_be_written_where_kserves_annotation_says_so() -> None:
    service = isvc("pvc://claim", {"storage.kserve.io/readonly": "false"})
    spec, _ = rendered(service, OTHER)
    (mount,) = spec["containers"][0]["volumeMounts"]
    assert mount["readOnly"] is False
    assert "subPath" not in mount
    assert annotations_read(service) == {"storage.kserve.io/readonly"}


def test_a_folder_of_the_node() -> None:
    spec, problems = rendered(isvc("file:///data/m"), OTHER)
    assert problems == []
    assert spec["volumes"][0]["hostPath"] == {"path": "/data/m", "type": "Directory"}
    assert source_of({"spec": spec}) == "file:///data/m"
    spec, problems = rendered(isvc("file:///data/m"), OTHER, settings=Settings())
    assert problems[0].reason == "FieldValueForbidden"
    assert "volumes" not in spec


def test_the_environment_that_says_how_to_fetch_reaches_the_init_container() -> None:
    env = [
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
        {"name": "HF_ENDPOINT", "value": "https://mirror"},
        {"name": "HF_HUB_OFFLINE", "value": "1"},
        {"name": "HF_HOME", "value": "/cache"},
        {"name": "AWS_CA_BUNDLE", "value": "/etc/ca/ca.crt"},
        {"name": "HTTPS_PROXY", "value": "http://proxy"},
        {"name": "DATABASE_PASSWORD", "value": "secret"},
    ]
    mounts = [{"name": "ca", "mountPath": "/etc/ca"}, {"name": "data", "mountPath": "/etc/c"}]
    container = {
        "name": "kserve-container",
        "env": env,
        "envFrom": [{"secretRef": {"name": "s"}}],
        "volumeMounts": mounts,
    }
    spec, _ = rendered(isvc("hf://org/model"), OTHER, {"containers": [container]})
    starting = spec["initContainers"][0]
    assert [each["name"] for each in starting["env"]] == [
        "HF_TOKEN",
        "HF_ENDPOINT",
        "AWS_CA_BUNDLE",
        "HTTPS_PROXY",
        "HOME",
    ]
    assert starting["env"][0] == env[0]
    assert starting["envFrom"] == container["envFrom"]
    assert {"name": "ca", "mountPath": "/etc/ca", "readOnly": True} in starting["volumeMounts"]
    assert not any(each["name"] == "data" for each in starting["volumeMounts"])


@pytest.mark.parametrize("of", [OWN, OTHER], ids=["own", "other"])
def test_the_secret_that_the_annotation_names_reaches_whoever_fetches(of: ServingRuntime) -> None:
    service = isvc(
        "s3://bucket/x", {SECRET_ANNOTATION: "keys", "serving.kserve.io/s3-endpoint": "minio:9000"}
    )
    given = {"containers": [{"name": "kserve-container", "env": [{"name": "AWS_REGION", "value": "here"}]}]}
    spec, _ = rendered(service, of, given)
    where = spec["containers"][0] if of is OWN else spec["initContainers"][0]
    others = [] if of is OWN else spec["containers"][0]["env"]
    assert [each["name"] for each in others] == ([] if of is OWN else ["AWS_REGION"])
    env = {each["name"]: each for each in where["env"]}
    assert env["AWS_ACCESS_KEY_ID"]["valueFrom"] == {
        "secretKeyRef": {"name": "keys", "key": "AWS_ACCESS_KEY_ID"}
    }
    assert env["AWS_SESSION_TOKEN"]["valueFrom"]["secretKeyRef"]["optional"] is True
    assert env["S3_ENDPOINT"] == {"name": "S3_ENDPOINT", "value": "minio:9000"}
    assert env["AWS_REGION"] == {"name": "AWS_REGION", "value": "here"}, "the user's own variable stays"
    assert annotations_read(service) == {SECRET_ANNOTATION, "serving.kserve.io/s3-endpoint"}


def test_a_token_for_the_hub_from_the_secret_of_the_annotation() -> None:
    spec, _ = rendered(isvc("hf://org/model", {SECRET_ANNOTATION: "hub"}), OWN)
    env = {each["name"]: each for each in spec["containers"][0]["env"]}
    assert env["HF_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "HF_TOKEN"}
    assert "AWS_ACCESS_KEY_ID" not in env


def test_dollars_are_no_references_for_the_kubelet() -> None:
    spec, _ = rendered(isvc("s3://bucket/$(SECRET)"), OWN)
    assert spec["containers"][0]["args"][-1] == "--storage_uri=s3://bucket/$$(SECRET)"
    assert source_of({"spec": spec}) == "s3://bucket/$(SECRET)"


def test_the_init_container_has_what_the_settings_say_or_the_containers_where_that_is_more() -> None:
    given = {"resources": {"requests": {"memory": "8Gi"}, "limits": {"cpu": "1", "nvidia.com/gpu": "1"}}}
    spec, _ = rendered(isvc("hf://org/model"), OTHER, {"containers": [{"name": "kserve-container", **given}]})
    assert spec["initContainers"][0]["resources"] == {
        "requests": {"cpu": "100m", "memory": "8Gi"},
        "limits": {"cpu": "2", "memory": "8Gi"},
    }


def test_two_volumes_cannot_be_in_one_place() -> None:
    container = {"name": "kserve-container", "volumeMounts": [{"name": "mine", "mountPath": "/mnt/models/"}]}
    spec, problems = rendered(isvc("hf://org/model"), OTHER, {"containers": [container]})
    assert [problem.field for problem in problems] == [FIELD]
    assert "volume mine is mounted at /mnt/models too" in problems[0].message
    assert spec == {"containers": [container]}
    assert rendered(isvc("hf://org/model"), OWN, {"containers": [container]})[1] == []


@pytest.mark.parametrize(
    ("uri", "kind", "name"),
    [
        ("pvc://claim/model", "volumes", "kserve-pvc-source"),
        ("file:///srv/model", "volumes", "model-folder"),
        ("hf://org/model", "volumes", "kserve-provision-location"),
        ("hf://org/model", "volumes", "storage-initializer-tmp"),
        ("hf://org/model", "initContainers", "storage-initializer"),
    ],
)
def test_what_stoker_adds_has_its_names_to_itself(uri: str, kind: str, name: str) -> None:
    given = [{"name": "mine", "image": "a:1"}, {"name": name, "image": "a:1"}]
    service = isvc(uri)
    users = replace(service, predictor=replace(service.predictor, raw={kind: given}))
    pod = {"containers": [{"name": "kserve-container"}], kind: given}
    (problem,) = rendered(users, OTHER, pod)[1]
    assert problem.field == f"spec.predictor.{kind}[1].name"
    assert "Stoker adds" in problem.message
    (problem,) = rendered(service, OTHER, pod)[1]
    assert problem.field == FIELD
    assert f"called {name}" in problem.message
    assert "the runtime has one" in problem.message
    if uri.startswith("hf"):
        assert rendered(users, OWN, pod)[1] == []  # it fetches by itself: nothing is added
    assert rendered(users, OTHER, {**pod, kind: given[:1]})[1] == []


def test_kserves_variable_names_the_model_of_a_container_of_ones_own() -> None:
    container = {
        "name": "mine",
        "image": "mine:1",
        "env": [{"name": "STORAGE_URI", "value": "hf://org/model"}],
    }
    service = parse_inference_service(
        {"metadata": {"name": "m"}, "spec": {"predictor": {"containers": [container]}}}
    )
    spec, problems = rendered(service, None, {"containers": [container | {"name": "kserve-container"}]})
    assert problems == []
    assert spec["initContainers"][0]["args"] == ["hf://org/model", "/mnt/models"]
    bad = container | {"env": [{"name": "STORAGE_URI", "value": "pvc://"}]}
    service = parse_inference_service(
        {"metadata": {"name": "m"}, "spec": {"predictor": {"containers": [bad]}}}
    )
    assert rendered(service, None)[1][0].field == "spec.predictor.containers[0].env[0].value"


@pytest.mark.parametrize(
    ("uri", "args", "field", "words"),
    [
        (None, [], FIELD, "Required value: which model to serve"),
        ("hf://a/b", ["--model_id=x/y"], "spec.predictor.model.args[0]", "both name a model"),
        ("hf://a/b", ["--seed=1", "--model-dir", "/x"], "spec.predictor.model.args[1]", "--model_dir and"),
        ("hf://a/b", ["--storage-uri=hf://a/b"], "spec.predictor.model.args[0]", "both name a model"),
        ("hf://a", [], FIELD, "must be hf://OWNER/MODEL"),
        ("file:///a", [], FIELD, "only a local cluster"),
    ],
)
def test_one_model_is_named(uri: str | None, args: list[str], field: str, words: str) -> None:
    problems = list(check_sources(isvc(uri, args=args), OWN, args, Settings()))
    assert [problem.field for problem in problems] == [field]
    assert words in problems[0].message


@pytest.mark.parametrize(
    ("service", "of", "args"),
    [
        (isvc("hf://a/b", args=[]), OWN, []),
        (isvc("hf://a/b", args=[]), OWN, ["--storage_uri=hf://a/b"]),
        (isvc("hf://a/b"), OWN, ["--model_dir=/mnt/models"]),
        (isvc(), OWN, ["--model_id=a/b"]),
        (isvc(), OWN, ["--backend=echo"]),
        (isvc(volumeMounts=[{"name": "v", "mountPath": "/mnt/models"}]), OWN, []),
        (isvc(), OTHER, []),
        (isvc(image="mine:1"), OWN, []),
        (isvc("hf://a/b", image="mine:1"), OWN, ["--model_id=/mnt/models"]),
    ],
)
def test_what_names_one_model_is_let_through(
    service: InferenceService, of: ServingRuntime, args: list[str]
) -> None:
    assert list(check_sources(service, of, args, Settings())) == []


def test_secrets_of_an_account_are_said_to_be_not_read() -> None:
    def said(annotations: dict[str, str], uri: str = "s3://bucket/x", **model: Any) -> list[str]:
        written = {"modelFormat": {"name": "huggingface"}, "storageUri": uri, **model}
        predictor = {"serviceAccountName": "reader", "model": written}
        metadata = {"name": "m", "annotations": annotations}
        obj = {"metadata": metadata, "spec": {"predictor": predictor}}
        return list(source_warnings(parse_inference_service(obj)))

    (warning,) = said({})
    assert warning.startswith(f"{FIELD}: Secrets attached to ServiceAccount reader are not read")
    assert said({SECRET_ANNOTATION: "keys"}) == []
    assert said({}, env=[{"name": "AWS_ACCESS_KEY_ID", "value": "x"}]) == []
    assert said({}, envFrom=[{"secretRef": {"name": "keys"}}]) == []
    assert said({}, uri="pvc://claim") == []
    assert list(source_warnings(isvc("s3://bucket/x"))) == []


def test_an_inference_service_without_storage_is_left_alone() -> None:
    given = {"containers": [{"name": "kserve-container"}]}
    service = isvc()
    assert rendered(service, OTHER, given) == (given, [])
    assert annotations_read(replace(service, annotations={SECRET_ANNOTATION: "x"})) == frozenset()
