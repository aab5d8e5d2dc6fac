"""What kubectl makes of the components: who is scraped, by which labels, with which annotations."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoker.serving import names
from stoker.serving.api.runtimes import parse_runtime

from . import page

_MANIFESTS = page.ROOT / "manifests"
Objects = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def built(kubectl_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Objects]:
    where = tmp_path_factory.mktemp("overlay")
    return {name: _build(kubectl_path, name, where / name.replace("/", "-")) for name in ("", "/annotations")}


def _build(kubectl: Path, component: str, where: Path) -> Objects:
    where = where / "overlay"
    where.mkdir(parents=True)
    up = "/".join([".."] * len(where.resolve().parts[1:])) + str(_MANIFESTS)
    text = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{up}/overlays/default"],
        "components": [f"{up}/monitoring{component}"],
    }
    (where / "kustomization.yaml").write_text(yaml.safe_dump(text))
    done = subprocess.run(
        [kubectl, "kustomize", where], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    objects = [each for each in yaml.safe_load_all(done.stdout) if each]
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


def test_the_monitors_select_our_pods_and_name_ports_that_they_have(built: dict[str, Objects]) -> None:
    objects = built[""]
    services = objects["PodMonitor", "stoker-inferenceservices"]["spec"]
    wanted = services["selector"]["matchLabels"].items()
    assert wanted <= names.labels("m", "m-predictor-00001").items()
    runtime = objects["ClusterServingRuntime", "kserve-huggingfaceserver"]["spec"]
    assert services["podMetricsEndpoints"][0]["port"] in _ports(runtime)
    for name, monitor in (("control-plane", "stoker-controller"), ("control-plane", "stoker-webhook"),
                          ("control-plane", "stoker-gateway"), ("envoy", "stoker-gateway")):  # fmt: skip
        template = objects["Deployment", monitor]["spec"]["template"]
        (endpoint,) = objects["PodMonitor", f"stoker-{name}"]["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in _ports(template["spec"])
        assert endpoint["path"] in page.PAGE.read_text()


def test_the_labels_of_the_pods_become_those_that_the_rules_read(built: dict[str, Objects]) -> None:
    (endpoint,) = built[""]["PodMonitor", "stoker-inferenceservices"]["spec"]["podMetricsEndpoints"]
    made = {each["targetLabel"]: each.get("sourceLabels") for each in endpoint["relabelings"]}
    assert made["name"] == [_meta(names.INFERENCE_SERVICE_LABEL)]
    assert made["revision"] == [_meta(names.REVISION_LABEL)]


def test_rules_and_dashboards_are_among_the_objects(built: dict[str, Objects]) -> None:
    assert ("PrometheusRule", "stoker") in built[""]
    boards = built[""]["ConfigMap", "stoker-dashboards"]
    assert boards["metadata"]["labels"]["grafana_dashboard"] == "1"
    folder = _MANIFESTS / "monitoring/dashboards"
    assert boards["data"] == {path.name: path.read_text() for path in folder.iterdir()}
    assert sum(map(len, boards["data"].values())) < 1_000_000, "a ConfigMap holds 1 MiB"


def test_annotations_name_the_ports(built: dict[str, Objects]) -> None:
    for name in ("controller", "webhook", "gateway"):
        template = built["/annotations"]["Deployment", f"stoker-{name}"]["spec"]["template"]
        annotations = template["metadata"]["annotations"]
        assert annotations["prometheus.io/scrape"] == "true"
        assert int(annotations["prometheus.io/port"]) == _ports(template["spec"])["health"]
    runtime = built["/annotations"]["ClusterServingRuntime", "kserve-huggingfaceserver"]
    given = parse_runtime(runtime).pod_annotations
    assert given["prometheus.io/scrape"] == "true"
    assert int(given["prometheus.io/port"]) == _ports(runtime["spec"])["http"]


def _ports(pod: dict[str, Any]) -> dict[str, int]:
    containers = [*pod.get("initContainers", []), *pod["containers"]]
    return {port["name"]: port["containerPort"] for each in containers for port in each.get("ports", [])}


def _meta(label: str) -> str:
    return "__meta_kubernetes_pod_label_" + "".join(each if each.isalnum() else "_" for each in label)
