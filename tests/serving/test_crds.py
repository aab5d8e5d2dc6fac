"""The CRDs on a real API server: what it stores, what it refuses and where, and what kubectl shows."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoker.local.control_plane import ApiServer
from tests.serving import golden

pytestmark = pytest.mark.apiserver
Kubectl = Callable[..., subprocess.CompletedProcess[str]]
NAMESPACE = "serving-crds"


@pytest.fixture(scope="module")
def kubectl(api_server: ApiServer, kubectl_path: Path) -> Kubectl:
    def run(*args: str, given: Any = None) -> subprocess.CompletedProcess[str]:
        options = [f"--kubeconfig={api_server.kubeconfig}", f"--namespace={NAMESPACE}"]
        command = [str(kubectl_path), *options, *args]
        text = None if given is None else json.dumps(given)
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)

    done = run("create", "namespace", NAMESPACE)
    assert done.returncode == 0 or "AlreadyExists" in done.stderr, done.stderr
    return run


def documents(folder: str) -> list[tuple[str, dict[str, Any]]]:
    paths = sorted((golden.MANIFESTS / folder).glob("*.yaml"))
    loaded = [(path.name, yaml.safe_load(path.read_text())) for path in paths]
    return [(name, each) for name, each in loaded if each["kind"] != "Kustomization"]


SHIPPED = documents("samples") + documents("runtimes")


@pytest.mark.parametrize("server_side", [False, True], ids=["client-side", "server-side"])
@pytest.mark.parametrize("obj", [each for _, each in SHIPPED], ids=[name for name, _ in SHIPPED])
def test_shipped_objects_apply_strictly_and_come_back_whole(
    kubectl: Kubectl, obj: dict[str, Any], server_side: bool
) -> None:
    how = ["--server-side", "--force-conflicts"] if server_side else []
    done = kubectl("apply", "--validate=strict", *how, "-f", "-", given=obj)
    assert (done.returncode, done.stderr) == (0, "")
    stored = json.loads(kubectl("get", obj["kind"], obj["metadata"]["name"], "-o=json").stdout)
    assert stored["spec"] == obj["spec"]


def test_golden_inputs_are_kept_whole(kubectl: Kubectl) -> None:
    """No field of a predictor or a runtime is pruned, whether Stoker acts on it or not."""
    given = []
    for case in golden.CASES:
        for obj in yaml.safe_load_all((golden.FOLDER / f"{case}.input.yaml").read_text()):
            if obj["kind"] != "Settings" and case != "nothing-to-serve":
                metadata = {"name": f"golden-{len(given)}", "annotations": {"case": case}}
                given.append(obj | {"metadata": metadata})
    stored = dry_run(kubectl, given)
    for before, after in zip(given, stored, strict=True):
        case = before["metadata"]["annotations"]["case"]
        assert _without_nulls(after["spec"]) == _without_nulls(before["spec"]), case


def dry_run(
    kubectl: Kubectl, items: list[dict[str, Any]], *, restricted: bool = True
) -> list[dict[str, Any]]:
    given = {"apiVersion": "v1", "kind": "List", "items": items}
    done = kubectl("create", "--dry-run=server", "--validate=strict", "-o=json", "-f", "-", given=given)
    assert done.returncode == 0, done.stderr
    assert not restricted or "would violate PodSecurity" not in done.stderr, done.stderr
    return _documents(done.stdout)


def _documents(text: str) -> list[dict[str, Any]]:
    """kubectl writes the objects of a list one after the other."""
    found, decoder = [], json.JSONDecoder()
    while text := text.lstrip():
        obj, end = decoder.raw_decode(text)
        found.append(obj)
        text = text[end:]
    return found


def _without_nulls(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _without_nulls(value) for name, value in tree.items() if value is not None}
    return [_without_nulls(each) for each in tree] if isinstance(tree, list) else tree


def isvc(name: str = "bad", **predictor: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "huggingface"}}} | predictor},
    }


def runtime(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "bad"},
        "spec": {"containers": [{"name": "kserve-container"}]} | spec,
    }


REFUSED = [
    ("name too long", isvc(name="a" * 48), "metadata.name", "at most 47"),
    ("name with a digit first", isvc(name="1a"), "metadata.name", "begin with a letter"),
    ("two kinds", isvc(sklearn={}), "spec.predictor", "set only one of"),
    (
        "model and its container",
        isvc(containers=[{"name": "kserve-container"}]),
        "spec.predictor.containers",
        "other names",
    ),
    ("nothing", isvc(model=None), "spec.predictor", "what to serve"),
    (
        "format without name",
        isvc(model={"modelFormat": {}}),
        "spec.predictor.model.modelFormat.name",
        "Required",
    ),
    ("no format", isvc(model={"runtime": "a"}), "spec.predictor.model.modelFormat", "Required"),
    (
        "min over max",
        isvc(minReplicas=2, maxReplicas=1),
        "spec.predictor.maxReplicas",
        "less than minReplicas",
    ),
    (
        "default min over max",
        isvc(maxReplicas=-1),
        "spec.predictor.maxReplicas",
        "greater than or equal to 0",
    ),
    (
        "percent",
        isvc(canaryTrafficPercent=101),
        "spec.predictor.canaryTrafficPercent",
        "less than or equal to 100",
    ),
    ("timeout", isvc(timeout=-1), "spec.predictor.timeout", "greater than or equal to 0"),
    ("a million pods", isvc(minReplicas=1000000), "spec.predictor.minReplicas", "less than or equal to 1000"),
    (
        "strategy",
        isvc(deploymentStrategy={"type": "Recreat"}),
        "spec.predictor.deploymentStrategy.type",
        "Recreate",
    ),
    (
        "surge of Recreate",
        isvc(deploymentStrategy={"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}),
        "spec.predictor.deploymentStrategy.rollingUpdate",
        "must not be set",
    ),
    (
        "surge in words",
        isvc(deploymentStrategy={"rollingUpdate": {"maxSurge": "one"}}),
        "spec.predictor.deploymentStrategy.rollingUpdate.maxSurge",
        "should match",
    ),
    (
        "quantity",
        isvc(model={"modelFormat": {"name": "a"}, "resources": {"limits": {"memory": "8GB"}}}),
        "spec.predictor.model.resources.limits.memory",
        "should match",
    ),
    (
        "env twice",
        isvc(model={"modelFormat": {"name": "a"}, "env": [{"name": "A"}, {"name": "A"}]}),
        "spec.predictor.model.env[1]",
        "Duplicate",
    ),
    (
        "runtime without its container",
        runtime(containers=[{"name": "a"}]),
        "spec.containers",
        "kserve-container",
    ),
    (
        "priority",
        runtime(supportedModelFormats=[{"name": "a", "priority": 0}]),
        "priority",
        "greater than or equal",
    ),
]


@pytest.mark.parametrize(
    ("obj", "field", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_refused_with_the_field_and_why(
    kubectl: Kubectl, obj: dict[str, Any], field: str, words: str
) -> None:
    done = kubectl("create", "--dry-run=server", "-f", "-", given=obj)
    assert done.returncode == 1
    assert f"{field}: " in done.stderr
    assert words in done.stderr


@pytest.mark.parametrize(
    ("obj", "field"),
    [
        (isvc(minReplica=1), "spec.predictor.minReplica"),
        (isvc(model={"modelFormat": {"name": "a"}, "agrs": []}), "spec.predictor.model.agrs"),
        (runtime(suportedModelFormats=[]), "spec.suportedModelFormats"),
    ],
)
def test_mistyped_fields_are_refused_by_kubectl(kubectl: Kubectl, obj: dict[str, Any], field: str) -> None:
    done = kubectl("create", "--dry-run=server", "-f", "-", given=obj)
    assert f'unknown field "{field}"' in done.stderr


STATUS = {
    "observedGeneration": 1,
    "url": "http://shown.serving-crds.example.com",
    "address": {"url": "http://shown-predictor.serving-crds.svc.cluster.local"},
    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    "components": {
        "predictor": {
            "latestCreatedRevision": "shown-predictor-00002",
            "traffic": [
                {"revisionName": "shown-predictor-00002", "percent": 10, "latestRevision": True},
                {"revisionName": "shown-predictor-00001", "percent": 90, "tag": "prev"},
            ],
        }
    },
    "modelStatus": {"transitionStatus": "UpToDate", "copies": {"totalCopies": 1, "failedCopies": 0}},
    "clusterServingRuntimeName": "kserve-huggingfaceserver",
    "summary": {
        "reason": "Serving",
        "replicas": "1/1",
        "runtime": "kserve-huggingfaceserver",
        "model": "shown",
    },
}


def test_columns_of_kubectl_get(kubectl: Kubectl) -> None:
    made = kubectl("apply", "-f", "-", given=isvc(name="shown"))
    assert made.returncode == 0, made.stderr
    patch = json.dumps({"status": STATUS})
    patched = kubectl(
        "patch", "isvc", "shown", "--subresource=status", "--type=merge", f"--patch={patch}", "-o=json"
    )
    assert json.loads(patched.stdout)["status"] == STATUS  # nothing is pruned
    header, row = kubectl("get", "isvc", "shown").stdout.splitlines()
    assert header.split() == (
        ["NAME", "URL", "READY", "PREV", "LATEST", "PREVROLLEDOUTREVISION", "LATESTREADYREVISION", "AGE"]
    )
    assert row.split()[:-1] == [
        "shown",
        "http://shown.serving-crds.example.com",
        "True",
        "90",
        "10",
        "shown-predictor-00001",
        "shown-predictor-00002",
    ]
    header, row = kubectl("get", "inferenceservices", "shown", "-o=wide").stdout.splitlines()
    assert header.split()[-5:] == ["AGE", "REASON", "REPLICAS", "RUNTIME", "MODEL"]
    assert row.split()[-4:] == ["Serving", "1/1", "kserve-huggingfaceserver", "shown"]
    waited = kubectl("wait", "isvc/shown", "--for=condition=Ready", "--timeout=5s")
    assert waited.returncode == 0, waited.stderr


def test_columns_of_runtimes(kubectl: Kubectl) -> None:
    shipped = golden.shipped_runtime()
    assert kubectl("apply", "-f", "-", given=shipped).returncode == 0
    header, row = kubectl("get", "clusterservingruntimes", shipped["metadata"]["name"]).stdout.splitlines()
    assert header.split() == ["NAME", "DISABLED", "MODELTYPE", "CONTAINERS", "AGE"]
    assert row.split()[1:-1] == ["huggingface", "kserve-container"]


def test_what_is_rendered_is_a_pod_that_the_api_server_takes(kubectl: Kubectl) -> None:
    """Every golden template as a Deployment, strictly; Stoker's own image under Pod Security `restricted`."""
    label = "pod-security.kubernetes.io/warn=restricted"
    assert kubectl("label", "namespace", NAMESPACE, label, "--overwrite").returncode == 0
    own, others = [], []
    selector = {"matchLabels": {"component": "predictor"}}
    for case in golden.CASES:
        output = yaml.safe_load((golden.FOLDER / f"{case}.output.yaml").read_text())
        if "template" not in output or "refused" in output:
            continue
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": case},
            "spec": {"selector": selector, "template": output["template"]},
        }
        shipped = output["template"]["spec"]["containers"][0]["image"].startswith("stoker.dev/runtime:")
        asks_for_root = case == "pod-defaults-overridden"
        restricted = (shipped and not asks_for_root) or case == "pod-security-restricted"
        (own if restricted else others).append(deployment)
    assert len(own) > 5
    assert len(dry_run(kubectl, own)) == len(own)
    assert len(others) > 5
    assert len(dry_run(kubectl, others, restricted=False)) == len(others)
