"""What Prometheus consists of on the local cluster: one pod that scrapes, with the rules, on a node port.

Its scrape configuration is `manifests/monitoring/prometheus.yaml`, which anybody without the operator uses
as well, except that a container of the same pod finds the pods (`discovery`); its rules are
`manifests/monitoring/rules`. What it recorded is in the pod and goes with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from stoker.local.images import PROMETHEUS, STOKER, USER
from stoker.local.record import PROMETHEUS_PORT

NAMESPACE = "stoker-monitoring"
NAME = "prometheus"
_PORT = 9090
_TARGETS = "/targets/pods.json"
_MONITORING = Path("manifests/monitoring")
_CONFIGURATION = "prometheus.yaml"
_SELECTOR = {"app.kubernetes.io/name": NAME}
_LABELS = _SELECTOR | {"app.kubernetes.io/part-of": "stoker"}
# Somebody who looks at a screen waits for it: shorter than for a fleet.
_INTERVAL = "5s"
# The longest window of the rules is 6 h.
_KEPT = ("--storage.tsdb.retention.time=7h", "--storage.tsdb.retention.size=256MB")
_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}

Object = dict[str, Any]


def manifest(source: Path) -> str:
    """All objects as one JSON list, from the checkout at `source`."""
    files = _files(source)
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    items = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": restricted}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata()},
        *_permissions(),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(), "data": files},
        _deployment(files),
        _service(),
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def scrape_configuration(source: Path) -> Object:
    """The scrape configuration of the manifests, at a shorter interval and with the pods from a file."""
    made: Object = yaml.safe_load((source / _MONITORING / _CONFIGURATION).read_text())
    made["global"] |= {"scrape_interval": _INTERVAL, "evaluation_interval": _INTERVAL}
    for job in made["scrape_configs"]:
        del job["kubernetes_sd_configs"]
        job["file_sd_configs"] = [{"files": [_TARGETS], "refresh_interval": _INTERVAL}]
    return made


def _metadata(name: str = NAME) -> Object:
    return {"name": name, "namespace": NAMESPACE, "labels": _LABELS}


def _permissions() -> list[Object]:
    group = "rbac.authorization.k8s.io"
    name = f"{NAMESPACE}-{NAME}"
    kinds = {"apiVersion": f"{group}/v1", "metadata": {"name": name, "labels": _LABELS}}
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
    role = {"apiGroup": group, "kind": "ClusterRole", "name": name}
    return [
        {**kinds, "kind": "ClusterRole", "rules": [rule]},
        {**kinds, "kind": "ClusterRoleBinding", "roleRef": role, "subjects": [subject]},
    ]


def _files(source: Path) -> dict[str, str]:
    """The files below /etc/prometheus by name; those with rules are in its folder `rules`."""
    rules = {path.name: path.read_text() for path in sorted((source / _MONITORING / "rules").glob("*.yaml"))}
    return {_CONFIGURATION: yaml.safe_dump(scrape_configuration(source), sort_keys=False), **rules}


def _deployment(files: Mapping[str, str]) -> Object:
    # Changed rules make a new pod: a changed ConfigMap alone would reach the old one a minute later.
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]
    paths = {name: name if name == _CONFIGURATION else f"rules/{name}" for name in files}
    items = [{"key": name, "path": path} for name, path in paths.items()]
    template = {
        "metadata": {"labels": _LABELS, "annotations": {"stoker.dev/settings-digest": digest}},
        "spec": {
            "serviceAccountName": NAME,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 10,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_server(), _discovery()],
            "volumes": [
                {"name": "config", "configMap": {"name": NAME, "items": items}},
                {"name": "data", "emptyDir": {"sizeLimit": "1Gi"}},
                {"name": "targets", "emptyDir": {"sizeLimit": "16Mi"}},
            ],
        },
    }
    spec = {
        "replicas": 1,
        # Two at a time would scrape everything twice, and the new one begins with nothing anyway.
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": _SELECTOR},
        "template": template,
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _metadata(), "spec": spec}


def _server() -> Object:
    return {
        "name": NAME,
        "image": PROMETHEUS,
        "imagePullPolicy": "IfNotPresent",
        "args": [
            f"--config.file=/etc/prometheus/{_CONFIGURATION}",
            "--storage.tsdb.path=/prometheus",
            *_KEPT,
        ],
        "ports": [{"name": "http", "containerPort": _PORT}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": "http"}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/-/healthy", "port": "http"}, "failureThreshold": 6},
        "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "768Mi"}},
        "securityContext": _RESTRICTED,
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/prometheus", "readOnly": True},
            {"name": "data", "mountPath": "/prometheus"},
            {"name": "targets", "mountPath": "/targets", "readOnly": True},
        ],
    }


def _discovery() -> Object:
    return {
        "name": "discovery",
        "image": STOKER,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "stoker.local.prometheus.discovery", _TARGETS],
        "resources": {"requests": {"cpu": "10m", "memory": "24Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": _RESTRICTED,
        "volumeMounts": [{"name": "targets", "mountPath": "/targets"}],
    }


def _service() -> Object:
    port = {"name": "http", "port": _PORT, "targetPort": "http", "nodePort": PROMETHEUS_PORT}
    spec = {"type": "NodePort", "selector": _SELECTOR, "ports": [port]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _metadata(), "spec": spec}
