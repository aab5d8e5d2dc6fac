"""Prometheus on the local cluster: where the program comes from, what is applied, which pods it knows."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from stoker.cli import main as cli
from stoker.local import images, record
from stoker.local.failures import LocalError
from stoker.local.home import Home
from stoker.local.prometheus import discovery, objects
from stoker.local.prometheus.program import program
from stoker.local.record import Record

ROOT = Path(__file__).parents[2]
RECORD = Record("node", 1, "https://198.18.1.2:6443", "198.18.1.2", 30080)


def script(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bin").mkdir(exist_ok=True)
    return {"PATH": str(tmp_path / "bin"), "STOKER_CACHE": str(tmp_path / "cache")}


def test_what_is_on_path_comes_first_and_nothing_is_downloaded(tmp_path: Path) -> None:
    script(tmp_path / "bin", "prometheus", "exit 0")
    said: list[str] = []
    assert program("prometheus", environ(tmp_path), said.append) == tmp_path / "bin/prometheus"
    assert said == []
    assert not (tmp_path / "cache").exists()


def test_what_was_fetched_before_is_used_again(tmp_path: Path) -> None:
    cached = tmp_path / "cache/tools/prometheus/bin"
    cached.mkdir(parents=True)
    script(cached, "promtool", "exit 0")
    assert program("promtool", environ(tmp_path)) == cached / "promtool"


def test_without_apt_it_says_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="no apt-get") as raised:
        program("prometheus", environ(tmp_path))
    assert "on PATH" in raised.value.remedy


def test_without_a_network_it_shows_apts_words(tmp_path: Path) -> None:
    script(tmp_path / "bin", "apt-get", "echo 'E: Could not resolve mirror.test' >&2; exit 100")
    script(tmp_path / "bin", "dpkg-deb", "exit 0")
    said: list[str] = []
    with pytest.raises(LocalError, match="could not fetch") as raised:
        program("prometheus", environ(tmp_path), said.append)
    assert "Could not resolve mirror.test" in raised.value.details
    assert ["Fetching Prometheus" in line for line in said] == [True], "a download is announced"
    assert not (tmp_path / "cache/tools/prometheus").exists()


def test_a_cluster_without_a_node_cannot_have_it(tmp_path: Path) -> None:
    arguments = ["up", "--control-plane-only", "--prometheus"]
    result = CliRunner().invoke(cli.main, arguments, env={"STOKER_HOME": str(tmp_path / "none")})
    assert result.exit_code == 1
    assert "runs as a pod" in result.stderr
    assert not (tmp_path / "none").exists()


def test_once_asked_for_it_stays_until_it_is_not_wanted(tmp_path: Path) -> None:
    with_it = RECORD.asked(None, None, True)
    assert RECORD.prometheus_url is None
    assert with_it.prometheus_url == "http://198.18.1.2:30090"
    with_it.save(Home(tmp_path))
    again = record.load(Home(tmp_path))
    assert again is not None
    assert again.asked(2, None, None).prometheus
    assert not again.asked(None, None, False).prometheus


def applied() -> dict[str, dict[str, Any]]:
    items = json.loads(objects.manifest(ROOT))["items"]
    found = {item["kind"]: item for item in items}
    assert len(found) == len(items)
    return found


def test_the_pod_reads_the_configuration_and_every_rule_file(tmp_path: Path) -> None:
    found = applied()
    pod = found["Deployment"]["spec"]["template"]["spec"]
    files = {volume["name"]: volume for volume in pod["volumes"]}["config"]["configMap"]["items"]
    server, beside = pod["containers"]
    assert {server["image"], beside["image"]} <= {image.name for image in images.all_images()}
    for item in files:
        path = tmp_path / item["path"]
        path.parent.mkdir(exist_ok=True)
        path.write_text(found["ConfigMap"]["data"][item["key"]])
    assert "--config.file=/etc/prometheus/prometheus.yaml" in server["args"]
    done = subprocess.run(
        [program("promtool"), "check", "config", tmp_path / "prometheus.yaml"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    in_folder = list((ROOT / "manifests/monitoring/rules").glob("*.yaml"))
    assert done.stdout.count("rules found") == len(in_folder) > 0


def test_it_scrapes_as_the_manifests_say_but_more_often() -> None:
    ours = yaml.safe_load(applied()["ConfigMap"]["data"]["prometheus.yaml"])
    theirs = yaml.safe_load((ROOT / "manifests/monitoring/prometheus.yaml").read_text())
    assert ours.pop("global") != theirs.pop("global")
    for job in theirs["scrape_configs"]:
        assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    for job in ours["scrape_configs"]:
        del job["file_sd_configs"]
    assert ours == theirs


def test_the_pods_have_the_labels_that_kubernetes_discovery_gives() -> None:
    pod = {
        "metadata": {
            "name": "p", "namespace": "a", "uid": "u",
            "labels": {"app.kubernetes.io/name": "stoker-gateway"},
            "annotations": {"prometheus.io/port": "8081"},
        },
        "spec": {
            "nodeName": "n",
            "containers": [{"name": "c", "ports": [{"containerPort": 8081, "name": "h"}]}, {"name": "d"}],
            "initContainers": [{"name": "envoy", "ports": [{"containerPort": 9902, "name": "envoy-stats"}]}],
        },
        "status": {
            "podIP": "10.0.0.1", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
        },
    }  # fmt: skip
    without_address = {**pod, "status": {"phase": "Pending"}}
    groups = discovery.targets([pod, without_address])
    assert [group["targets"] for group in groups] == [["10.0.0.1:8081"], ["10.0.0.1"], ["10.0.0.1:9902"]]
    common = {
        "__meta_kubernetes_namespace": "a",
        "__meta_kubernetes_pod_name": "p",
        "__meta_kubernetes_pod_ip": "10.0.0.1",
        "__meta_kubernetes_pod_phase": "Running",
        "__meta_kubernetes_pod_ready": "true",
        "__meta_kubernetes_pod_label_app_kubernetes_io_name": "stoker-gateway",
        "__meta_kubernetes_pod_labelpresent_app_kubernetes_io_name": "true",
        "__meta_kubernetes_pod_annotation_prometheus_io_port": "8081",
    }
    assert all(group["labels"].items() >= common.items() for group in groups)
    names = [group["labels"].get("__meta_kubernetes_pod_container_port_name") for group in groups]
    assert names == ["h", None, "envoy-stats"]
    assert [group["labels"]["__meta_kubernetes_pod_container_init"] for group in groups] == [
        "false",
        "false",
        "true",
    ]


def test_every_label_that_relabelling_reads_is_one_that_discovery_gives() -> None:
    read = {
        label
        for job in objects.scrape_configuration(ROOT)["scrape_configs"]
        for step in job["relabel_configs"]
        for label in step["source_labels"]
    }
    fixed = {each for each in read if "_pod_label_" not in each and "_pod_annotation_" not in each}
    port = {"name": "c", "ports": [{"containerPort": 1}]}
    metadata = {"name": "p", "namespace": "a", "uid": "u"}
    (group,) = discovery.targets(
        [{"metadata": metadata, "spec": {"containers": [port]}, "status": {"podIP": "10.0.0.1"}}]
    )
    assert fixed
    assert fixed <= group["labels"].keys()


def test_changed_rules_make_a_new_pod(tmp_path: Path) -> None:
    monitoring = tmp_path / "manifests/monitoring"
    (monitoring / "rules").mkdir(parents=True)
    (monitoring / "prometheus.yaml").write_text("global: {}\nscrape_configs: []\n")
    templates = []
    for text in ("groups: []\n", "groups: []\n", "groups: [{name: a}]\n"):
        (monitoring / "rules/a.yaml").write_text(text)
        items = json.loads(objects.manifest(tmp_path))["items"]
        templates += [item["spec"]["template"] for item in items if item["kind"] == "Deployment"]
    assert templates[0] == templates[1] != templates[2]
