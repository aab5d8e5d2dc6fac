"""The rule file as the object that the Prometheus operator reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parents[2] / "manifests/monitoring"
RULES = _FOLDER / "rules" / "stoker.yaml"
OBJECT = _FOLDER / "prometheus-rule.yaml"
_HEAD = "# Generated from rules/stoker.yaml by `make generate`.\n"


def rules() -> list[dict[str, Any]]:
    """Every rule of every group, in order."""
    return [rule for group in _groups() for rule in group["rules"]]


def prometheus_rule() -> str:
    """The PrometheusRule as YAML."""
    body = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "stoker",
            "namespace": "stoker-system",
            "labels": {"app.kubernetes.io/part-of": "stoker"},
        },
        "spec": {"groups": _groups()},
    }
    return _HEAD + yaml.safe_dump(body, sort_keys=False, width=110)


def _groups() -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
    return groups
