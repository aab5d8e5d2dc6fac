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

from stoker.local import images, mounts, network
from stoker.local.control_plane import SERVICE_RANGE, Endpoints, apiserver, etcd, write_certificates
from stoker.local.home import Home
from stoker.local.processes import Component
from stoker.local.supervisor import Task

NAME = "stoker"
DNS_ADDRESS = "10.96.0.10"
INGRESS_PORT = 30080
_CONTAINERD_SOCKET = "/run/containerd/containerd.sock"


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
    (folder / "containerd.toml").write_text(containerd_configuration(home, prepared, runc))
    (folder / "kubelet.json").write_text(json.dumps(kubelet_configuration(home, folder), indent=1))
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


def containerd_configuration(home: Home, prepared: Prepared, runc: Path) -> str:
    """containerd's TOML.

    The native snapshotter copies, which is fine for images of 100 KB and works on every file system.
    """
    oom = str(not prepared.sys_resource).lower()
    return f"""version = 2
root = "{home.node_state}/containerd"
state = "/run/containerd"
# opt would make a folder /opt/containerd on the machine
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{_CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}"
  # Without CAP_SYS_RESOURCE every sandbox would fail on its OOM score.
  restrict_oom_score_adj = {oom}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{prepared.cni_folder}"
    conf_dir = "{home.path}/node/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "{runc}"
"""


def kubelet_configuration(home: Home, folder: Path) -> dict[str, Any]:
    """The KubeletConfiguration.

    The cgroupfs driver on both control group layouts: the systemd one would talk to the machine's
    systemd and make slices outside the node.
    """
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{_CONTAINERD_SOCKET}",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(folder / "resolv.conf"),
        "podLogsDir": "/var/log/pods",
        "failSwapOn": False,
        # Images cannot be pulled again, and a full disk of the machine is not the pods' fault.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(home.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(home.pki / "kubelet-serving.crt"),
        "tlsPrivateKeyFile": str(home.pki / "kubelet-serving.key"),
        "enableServer": True,
        "readOnlyPort": 0,
    }


def _tasks(
    home: Home, folder: Path, prepared: Prepared, programs: Mapping[str, Path], endpoints: Endpoints
) -> list[Task]:
    database = etcd(programs["etcd"], home.pki, home.node_state / "etcd", endpoints)
    api = apiserver(programs["kube-apiserver"], home.pki, endpoints, with_node=True)
    api_up = f"tcp:{endpoints.address}:{endpoints.api_port}"
    # Before the built-in roles exist the others would be refused, and the controller-manager ends.
    api_ready = f"https:{endpoints.address}:{endpoints.api_port}/readyz"
    containerd_up = f"unix:{_CONTAINERD_SOCKET}"
    ctr = (prepared.ctr, "--address", _CONTAINERD_SOCKET, "--namespace", "k8s.io")
    containerd = Component("containerd", (prepared.containerd, "--config", f"{folder}/containerd.toml"))
    # Snapshots by the same snapshotter as the CRI's, or the first pod would unpack again.
    archive = (*ctr, "images", "import", "--snapshotter", "native", f"{folder}/images.tar")
    importing = Component("images", archive)

    def task(component: Component, *after: str, once: bool = False) -> Task:
        log = str(home.log(component.name))
        return Task(component.name, component.command, log, dict(component.environment), after, once)

    return [
        task(containerd),
        task(database),
        task(importing, containerd_up, once=True),
        task(api, f"tcp:127.0.0.1:{endpoints.etcd_port}"),
        task(_controller_manager(programs, home.pki), api_ready),
        task(_scheduler(programs, home.pki), api_ready),
        task(_kubelet(programs, home, folder, prepared), api_up, "done:images"),
        task(_proxy(programs, home.pki), api_ready),
    ]


def _controller_manager(programs: Mapping[str, Path], pki: Path) -> Component:
    kubeconfig = pki / "kube-controller-manager.kubeconfig"
    flags = {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "bind-address": "127.0.0.1",
        "leader-elect": "false",
        "use-service-account-credentials": "true",
        "root-ca-file": pki / "ca.crt",
        "service-account-private-key-file": pki / "service-account.key",
        "cluster-cidr": network.POD_RANGE,
        "service-cluster-ip-range": SERVICE_RANGE,
        "profiling": "false",
    }
    return Component("kube-controller-manager", (str(programs["kube-controller-manager"]), *_flags(flags)))


def _scheduler(programs: Mapping[str, Path], pki: Path) -> Component:
    kubeconfig = pki / "kube-scheduler.kubeconfig"
    flags = {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "bind-address": "127.0.0.1",
        "leader-elect": "false",
        "profiling": "false",
    }
    return Component("kube-scheduler", (str(programs["kube-scheduler"]), *_flags(flags)))


def _kubelet(programs: Mapping[str, Path], home: Home, folder: Path, prepared: Prepared) -> Component:
    flags = {
        "config": folder / "kubelet.json",
        "kubeconfig": home.pki / "kubelet.kubeconfig",
        "hostname-override": NAME,
        "node-ip": prepared.address,
    }
    return Component("kubelet", (str(programs["kubelet"]), *_flags(flags)))


def _proxy(programs: Mapping[str, Path], pki: Path) -> Component:
    flags = {
        "kubeconfig": pki / "kube-proxy.kubeconfig",
        "hostname-override": NAME,
        "proxy-mode": "nftables",
        "cluster-cidr": network.POD_RANGE,
        # These are settings of the whole machine; a node in a namespace leaves them alone.
        "conntrack-max-per-core": "0",
        "conntrack-min": "0",
    }
    return Component("kube-proxy", (str(programs["kube-proxy"]), *_flags(flags)))


def _flags(flags: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]


def _make_logs(home: Home, names: list[str]) -> None:
    """Made by the user, so that they stay the user's although root appends to them."""
    home.logs.mkdir(parents=True, exist_ok=True)
    for name in ("node", *names):
        descriptor = os.open(home.log(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.close(descriptor)
