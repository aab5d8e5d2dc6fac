"""Installing Stoker: the domain, and the order in which objects are applied."""

from __future__ import annotations

from typing import Any

import yaml

from stoker.local.installation import in_order, only_definitions, with_domain

SETTINGS: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "stoker-settings", "namespace": "stoker-system"},
    "data": {"settings.yaml": "domain: example.com\ndrain_seconds: 5\n"},
}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "stoker-controller"},
    "spec": {"template": {"spec": {}}},
}
CRD = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "x"}}
RUNTIME = {
    "apiVersion": "serving.kserve.io/v1alpha1",
    "kind": "ClusterServingRuntime",
    "metadata": {"name": "r"},
}
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "stoker-system"}}


def test_the_domain_goes_into_the_settings_and_the_rest_stays() -> None:
    changed = with_domain([DEPLOYMENT, SETTINGS], "models.test")
    settings = yaml.safe_load(changed[1]["data"]["settings.yaml"])
    assert settings == {"domain": "models.test", "drain_seconds": 5}
    assert SETTINGS["data"]["settings.yaml"].startswith("domain: example.com"), "the input is not changed"


def test_only_a_changed_domain_rolls_the_programs() -> None:
    one, again, other = (
        with_domain([DEPLOYMENT, SETTINGS], domain)[0] for domain in ("a.test", "a.test", "b.test")
    )
    assert one == again
    assert one["spec"]["template"] != other["spec"]["template"]


def test_the_api_is_defined_before_it_is_used_and_runtimes_come_before_the_webhook() -> None:
    groups = in_order([DEPLOYMENT, RUNTIME, SETTINGS, CRD, NAMESPACE])
    assert groups == [[CRD, NAMESPACE], [RUNTIME], [DEPLOYMENT, SETTINGS]]


def test_the_control_plane_alone_gets_no_pods() -> None:
    kept = only_definitions([DEPLOYMENT, RUNTIME, SETTINGS, CRD, NAMESPACE])
    assert kept == [CRD, NAMESPACE, RUNTIME, SETTINGS]
