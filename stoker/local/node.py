"""What one node consists of: its configuration files and the components that its process 1 runs.

Everything here is made by the user's half of `up`; root only starts it (`stoker.local.root`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stoker.local import images, mounts, network, node_components
from stoker.local.control_plane import Endpoints, apiserver, etcd, write_certificates
from stoker.local.home import Home
from stoker.local.processes import Component
from stoker.local.supervisor import Task

NAME = node_components.NODE_NAME
INGRESS_PORT = 30080


@dataclass(frozen=True)
class Prepared:
    """What root found and made before a node can be described (`python -m stoker.local.root prepare`)."""

    address: str
    containerd: str
    ctr: str
    runc: str
    cni_folder: str
    sys_resource: bool

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class NodePlan:
    """Everything about a node that root's half needs, as a file."""

    identity: str
    address: str
    hostname: str
    state: str
    resolv_conf: str
    node_log: str
    status: str
    tasks: tuple[Task, ...]

    @classmethod
    def load(cls, path: Path) -> NodePlan:
        """Read what `save` wrote."""
        content: dict[str, Any] = json.loads(path.read_text())
        tasks = tuple(Task.from_json(item) for item in content.pop("tasks"))
        return cls(**content, tasks=tasks)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        content = asdict(self) | {"tasks": [task.as_json() for task in self.tasks]}
        path.write_text(json.dumps(content, indent=1))


def endpoints_of(prepared: Prepared) -> Endpoints:
    """Where a node's control plane listens; its ports are its own, so they never clash."""
    return Endpoints(prepared.address, 6443, 2379, 2380)


def describe(
    home: Home, prepared: Prepared, programs: Mapping[str, Path], rules: mounts.Rules, python: Path
) -> NodePlan:
    """Write a node's certificates, configuration and log files; returns its plan."""
    folder = home.path / "node"
    folder.mkdir(parents=True, exist_ok=True)
    endpoints = endpoints_of(prepared)
    write_certificates(home.pki, endpoints, NAME)
    (folder / "resolv.conf").write_text("")
    (folder / "cni").mkdir(exist_ok=True)
    (folder / "cni" / "10-stoker.conflist").write_text(network.cni_configuration())
    (folder / "mounts.json").write_text(json.dumps(rules, indent=1))
    runc = folder / "runc"
    runc.write_text(mounts.wrapper(str(python), prepared.runc, folder / "mounts.json"))
    runc.chmod(0o755)
    (folder / "containerd.toml").write_text(_containerd(home, prepared, runc))
    kubelet = node_components.kubelet_configuration(home.pki, folder / "resolv.conf")
    (folder / "kubelet.json").write_text(json.dumps(kubelet, indent=1))
    images.write_archive(folder / "images.tar", images.all_images())
    tasks = _tasks(home, folder, prepared, programs, endpoints)
    _make_logs(home, [task.name for task in tasks])
    plan = NodePlan(
        identity=home.identity,
        address=prepared.address,
        hostname=NAME,
        state=str(home.node_state),
        resolv_conf=str(folder / "resolv.conf"),
        node_log=str(home.log("node")),
        status=str(home.node_state / "status.json"),
        tasks=tuple(tasks),
    )
    plan.save(folder / "node.json")
    return plan


def _tasks(
    home: Home, folder: Path, prepared: Prepared, programs: Mapping[str, Path], endpoints: Endpoints
) -> list[Task]:
    database = etcd(programs["etcd"], home.pki, home.node_state / "etcd", endpoints)
    api = apiserver(programs["kube-apiserver"], home.pki, endpoints, with_node=True)
    api_up = f"tcp:{endpoints.address}:{endpoints.api_port}"
    # Before the built-in roles exist the others would be refused, and the controller-manager ends.
    api_ready = f"https:{endpoints.address}:{endpoints.api_port}/readyz"
    containerd_up = f"unix:{node_components.CONTAINERD_SOCKET}"
    ctr = (prepared.ctr, "--address", node_components.CONTAINERD_SOCKET, "--namespace", "k8s.io")
    containerd = Component("containerd", (prepared.containerd, "--config", f"{folder}/containerd.toml"))
    # Snapshots by the same snapshotter as the CRI's, or the first pod would unpack again.
    archive = (*ctr, "images", "import", "--snapshotter", "native", f"{folder}/images.tar")
    importing = Component("images", archive)

    configuration = folder / "kubelet.json"
    kubelet = node_components.kubelet(programs, home.pki, configuration, prepared.address)

    def task(component: Component, *after: str, once: bool = False) -> Task:
        log = str(home.log(component.name))
        return Task(component.name, component.command, log, dict(component.environment), after, once)

    return [
        task(containerd),
        task(database),
        task(importing, containerd_up, once=True),
        task(api, f"tcp:127.0.0.1:{endpoints.etcd_port}"),
        task(node_components.controller_manager(programs, home.pki), api_ready),
        task(node_components.scheduler(programs, home.pki), api_ready),
        task(kubelet, api_up, "done:images"),
        task(node_components.proxy(programs, home.pki), api_ready),
    ]


def _containerd(home: Home, prepared: Prepared, runc: Path) -> str:
    return node_components.containerd_configuration(
        home.node_state,
        runc,
        prepared.cni_folder,
        home.path / "node" / "cni",
        sys_resource=prepared.sys_resource,
    )


def _make_logs(home: Home, names: list[str]) -> None:
    """Made by the user, so that they stay the user's although root appends to them."""
    home.logs.mkdir(parents=True, exist_ok=True)
    for name in ("node", *names):
        descriptor = os.open(home.log(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.close(descriptor)
