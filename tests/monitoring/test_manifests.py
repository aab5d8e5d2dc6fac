"""What kubectl makes of the components: who is scraped, by which labels, with which annotations."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.monitoring import rules
from stoker.local.prometheus.program import program
from stoker.serving import names
from stoker.serving.api.runtimes import parse_runtime

from . import page

_MANIFESTS = page.ROOT / "manifests"
_SCRAPED = {
    "prometheus.io/scrape": "true",
    "prometheus.io/path": "/metrics",
    "prometheus.io/scheme": "http",
}
Objects = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def built(kubectl_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Objects]:
    where = tmp_path_factory.mktemp("overlay")
    components = {"none": [], "": ["/monitoring"], "/dashboards": ["/monitoring/dashboards"]}
    return {
        name: _build(kubectl_path, wanted, where / (name.strip("/") or "all"))
        for name, wanted in components.items()
    }


def _build(kubectl: Path, components: list[str], where: Path) -> Objects:
    where = where / "overlay"
    where.mkdir(parents=True)
    up = "/".join([".."] * len(where.resolve().parts[1:])) + str(_MANIFESTS)
    text = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{up}/overlays/default"],
        "components": [f"{up}{each}" for each in components],
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
    assert boards["data"] == {path.name: path.read_text() for path in folder.glob("*.json")}
    assert sum(map(len, boards["data"].values())) < 1_000_000, "a ConfigMap holds 1 MiB"


def test_every_pod_says_where_it_is_scraped_without_any_component(built: dict[str, Objects]) -> None:
    objects = built["none"]
    for name in ("controller", "webhook", "gateway"):
        template = objects["Deployment", f"stoker-{name}"]["spec"]["template"]
        annotations = template["metadata"]["annotations"]
        assert annotations.items() >= _SCRAPED.items()
        assert int(annotations["prometheus.io/port"]) == _ports(template["spec"])["health"]
    runtime = objects["ClusterServingRuntime", "kserve-huggingfaceserver"]
    given = parse_runtime(runtime).pod_annotations
    assert given.items() >= _SCRAPED.items()
    assert int(given["prometheus.io/port"]) == _ports(runtime["spec"])["http"]


def test_the_dashboards_need_no_operator(built: dict[str, Objects]) -> None:
    more = built["/dashboards"].keys() - built["none"].keys()
    assert more == {("ConfigMap", "stoker-dashboards")}
    assert {kind for kind, _ in built[""].keys() - built["none"].keys()} == {
        "ConfigMap",
        "PodMonitor",
        "PrometheusRule",
    }


def test_plain_prometheus_reads_the_configuration_and_the_rules_beside_it(tmp_path: Path) -> None:
    done = _check((_MANIFESTS / "monitoring/prometheus.yaml").read_text(), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules.rules())} rules found" in done.stdout


def test_a_mistake_in_the_configuration_is_seen(tmp_path: Path) -> None:
    text = (_MANIFESTS / "monitoring/prometheus.yaml").read_text()
    done = _check(text.replace("target_label: __scheme__", "target: __scheme__"), tmp_path)
    assert done.returncode == 1
    assert "field target not found" in done.stderr


def test_with_and_without_the_operator_the_same_is_scraped_as_the_same(built: dict[str, Objects]) -> None:
    text = (_MANIFESTS / "monitoring/prometheus.yaml").read_text()
    plain = {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}
    assert plain.keys() == {name for kind, name in built[""] if kind == "PodMonitor"}
    for name, job in plain.items():
        (endpoint,) = built[""]["PodMonitor", name]["spec"]["podMetricsEndpoints"]
        assert job.get("metrics_path", "/metrics") == endpoint["path"]
        assert job.get("honor_labels", False) == endpoint.get("honorLabels", False)
        ours = {
            step["target_label"]: step["source_labels"]
            for step in job["relabel_configs"]
            if not step.get("target_label", "__").startswith("__")
        }
        assert ours.pop("namespace") == ["__meta_kubernetes_namespace"], "the operator adds it by itself"
        assert ours.pop("pod") == ["__meta_kubernetes_pod_name"], "the operator adds it by itself"
        theirs = {
            step["targetLabel"]: step["sourceLabels"]
            for step in endpoint["relabelings"]
            if "sourceLabels" in step
        }
        assert ours == theirs


def _check(text: str, where: Path) -> subprocess.CompletedProcess[str]:
    # Debian's promtool knows no Kubernetes, and refuses whatever stands for it.
    assert text.count("kubernetes_sd_configs: [{role: pod}]") == 3
    text = text.replace("kubernetes_sd_configs: [{role: pod}]", "file_sd_configs: [{files: [pods.json]}]")
    (where / "prometheus.yaml").write_text(text)
    (where / "rules").symlink_to(_MANIFESTS / "monitoring/rules")
    command = [program("promtool"), "check", "config", where / "prometheus.yaml"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _ports(pod: dict[str, Any]) -> dict[str, int]:
    containers = [*pod.get("initContainers", []), *pod["containers"]]
    return {port["name"]: port["containerPort"] for each in containers for port in each.get("ports", [])}


def _meta(label: str) -> str:
    return "__meta_kubernetes_pod_label_" + "".join(each if each.isalnum() else "_" for each in label)
