"""Installing Stoker from manifests/ into a running cluster, and restarting it with changed code."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from stoker.local.failures import LocalError
from stoker.local.kubectl import Kubectl

NAMESPACE = "stoker-system"
OVERLAY = Path("manifests/overlays/local")
_SETTINGS = "stoker-settings"
_SETTINGS_DIGEST = "stoker.dev/settings-digest"
_OUR_GROUP = "serving.kserve.io"

Document = dict[str, Any]


def build(kubectl: Kubectl, overlay: Path) -> list[Document]:
    """The documents of an overlay."""
    text = kubectl.run("kustomize", str(overlay))
    return [document for document in yaml.safe_load_all(text) if document]


def with_domain(documents: Sequence[Document], domain: str) -> list[Document]:
    """The same documents with `domain` in the settings that every program reads.

    Programs read them when they start: a digest in the pods' annotations makes changed settings
    roll the Deployments.
    """
    changed = copy.deepcopy(list(documents))
    settings = [
        document["data"]
        for document in changed
        if document["kind"] == "ConfigMap" and document["metadata"]["name"] == _SETTINGS
    ]
    for data in settings:
        values = yaml.safe_load(data.get("settings.yaml") or "") or {}
        data["settings.yaml"] = yaml.safe_dump(values | {"domain": domain}, sort_keys=False)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    for document in changed:
        if document["kind"] == "Deployment":
            metadata = document["spec"]["template"].setdefault("metadata", {})
            metadata.setdefault("annotations", {})[_SETTINGS_DIGEST] = digest
    return changed


def in_order(documents: Sequence[Document]) -> list[list[Document]]:
    """Three groups to apply one after the other.

    What defines the API, then our own objects (before a webhook that is not running yet is asked
    about them), then everything else.
    """
    definitions, ours, others = [], [], []
    for document in documents:
        if document["kind"] in ("Namespace", "CustomResourceDefinition"):
            definitions.append(document)
        elif document["apiVersion"].startswith(f"{_OUR_GROUP}/"):
            ours.append(document)
        else:
            others.append(document)
    return [definitions, ours, others]


def install(kubectl: Kubectl, documents: Sequence[Document]) -> list[str]:
    """Apply documents; returns the lines about objects that kubectl prints.

    Applying what is there already changes nothing.
    """
    said: list[str] = []
    for number, group in enumerate(in_order(documents)):
        if group:
            said += kubectl.apply(as_list(group)).splitlines()
        names = [each["metadata"]["name"] for each in group if each["kind"] == "CustomResourceDefinition"]
        if number == 0 and names:
            kubectl.run("wait", "--for=condition=Established", "--timeout=30s", "crd", *names)
    return said


def only_definitions(documents: Sequence[Document]) -> list[Document]:
    """What the control plane alone gets: the API with its policy, and the runtimes; no Deployments."""
    definitions, ours, others = in_order(documents)
    kept = ("ConfigMap", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    return definitions + ours + [each for each in others if each["kind"] in kept]


def restart(kubectl: Kubectl, timeout: float = 180.0) -> list[str]:
    """Restart Stoker's Deployments and wait until the new pods are ready; returns their names."""
    found = json.loads(kubectl.run("get", "deployments", f"--namespace={NAMESPACE}", "--output=json"))
    names = [each["metadata"]["name"] for each in found["items"]]
    if not names:
        raise LocalError("Stoker is not installed in this cluster.", "`stoker up` installs it.")
    deployments = [f"deployment/{name}" for name in names]
    kubectl.run("rollout", "restart", f"--namespace={NAMESPACE}", *deployments)
    for deployment in deployments:
        kubectl.run(
            "rollout", "status", f"--namespace={NAMESPACE}", f"--timeout={timeout:.0f}s", deployment,
            timeout=timeout + 10,
        )  # fmt: skip
    return names


def as_list(documents: Sequence[Document]) -> str:
    """One JSON List, which kubectl reads faster than YAML."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
