"""Flags and configuration files of a node's components, each as a function of where things are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stoker.local import images, network
from stoker.local.control_plane import SERVICE_RANGE
from stoker.local.processes import Component

NODE_NAME = "stoker"
DNS_ADDRESS = "10.96.0.10"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"


def containerd_configuration(
    state: Path, runc: Path, cni_programs: str, cni_configuration: Path, *, sys_resource: bool
) -> str:
    """containerd's TOML.

    The native snapshotter copies, which is fine for images of 100 KB and works on every file system.
    """
    oom = str(not sys_resource).lower()
    return f"""version = 2
root = {_toml(state / "containerd")}
state = "/run/containerd"
# opt would make a folder /opt/containerd on the machine
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {_toml(images.PAUSE)}
  # Without CAP_SYS_RESOURCE every sandbox would fail on its OOM score.
  restrict_oom_score_adj = {oom}
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {_toml(cni_programs)}
    conf_dir = {_toml(cni_configuration)}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = {_toml(runc)}
"""


def kubelet_configuration(pki: Path, resolv_conf: Path) -> dict[str, Any]:
    """The KubeletConfiguration.

    The cgroupfs driver on both control group layouts: the systemd one would talk to the machine's
    systemd and make slices outside the node.
    """
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(resolv_conf),
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
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / "kubelet-serving.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet-serving.key"),
        "enableServer": True,
        "readOnlyPort": 0,
    }


def controller_manager(programs: Mapping[str, Path], pki: Path) -> Component:
    """kube-controller-manager with all of its default loops."""
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


def scheduler(programs: Mapping[str, Path], pki: Path) -> Component:
    """kube-scheduler."""
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


def kubelet(programs: Mapping[str, Path], pki: Path, configuration: Path, address: str) -> Component:
    """The kubelet; everything but identity and address is in its configuration file."""
    flags = {
        "config": configuration,
        "kubeconfig": pki / "kubelet.kubeconfig",
        "hostname-override": NODE_NAME,
        "node-ip": address,
    }
    return Component("kubelet", (str(programs["kubelet"]), *_flags(flags)))


def proxy(programs: Mapping[str, Path], pki: Path) -> Component:
    """kube-proxy in nftables mode: Services and node ports."""
    flags = {
        "kubeconfig": pki / "kube-proxy.kubeconfig",
        "hostname-override": NODE_NAME,
        "proxy-mode": "nftables",
        "cluster-cidr": network.POD_RANGE,
        # These are settings of the whole machine; a node in a namespace leaves them alone.
        "conntrack-max-per-core": "0",
        "conntrack-min": "0",
    }
    return Component("kube-proxy", (str(programs["kube-proxy"]), *_flags(flags)))


def _toml(text: object) -> str:
    """A TOML string: JSON's escapes are among TOML's."""
    return json.dumps(str(text))


def _flags(flags: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]
