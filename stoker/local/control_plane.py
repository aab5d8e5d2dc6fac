"""etcd and kube-apiserver: their certificates, their flags, and starting the two without root."""

from __future__ import annotations

import random
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stoker.local.api import Api
from stoker.local.certificates import Authority, kubeconfig, signing_key, write_private
from stoker.local.failures import LocalError
from stoker.local.processes import Component, Processes, tail

SERVICE_RANGE = "10.96.0.0/16"
_KUBERNETES_SERVICE = "10.96.0.1"
_START_ATTEMPTS = 3
_PORTS = range(20_000, 30_000)

# User name and groups of each component, as the API server's built-in roles expect them.
CLIENTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "admin": ("stoker-admin", ("system:masters",)),
    "kube-controller-manager": ("system:kube-controller-manager", ()),
    "kube-scheduler": ("system:kube-scheduler", ()),
    "kube-proxy": ("system:kube-proxy", ()),
}


@dataclass(frozen=True)
class Endpoints:
    """Where etcd and the API server listen."""

    address: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int

    @property
    def url(self) -> str:
        """The API server's URL."""
        return f"https://{self.address}:{self.api_port}"


@dataclass(frozen=True)
class ApiServer:
    """A running API server, as a client needs to know it."""

    kubeconfig: Path
    url: str
    ca: Path


def write_certificates(pki: Path, endpoints: Endpoints, node: str | None = None) -> None:
    """Fill `pki` with everything the control plane and, where `node` is named, its kubelet need."""
    pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority, database, proxies = (
        Authority(f"stoker-local{part}") for part in ("", "-etcd", "-front-proxy")
    )
    (pki / "ca.crt").write_bytes(authority.certificate)
    (pki / "etcd-ca.crt").write_bytes(database.certificate)
    (pki / "front-proxy-ca.crt").write_bytes(proxies.certificate)
    proxies.client("front-proxy").write(pki, "front-proxy")
    database.server("etcd", ["localhost", "127.0.0.1"]).write(pki, "etcd")
    hosts = ["localhost", "127.0.0.1", endpoints.address, _KUBERNETES_SERVICE]
    hosts += [
        "kubernetes" + suffix for suffix in ("", ".default", ".default.svc", ".default.svc.cluster.local")
    ]
    authority.server("kube-apiserver", hosts).write(pki, "apiserver")
    signing_key().write(pki, "service-account")
    clients = dict(CLIENTS)
    if node is not None:
        clients["kubelet"] = (f"system:node:{node}", ("system:nodes",))
        authority.server(f"system:node:{node}", [node, endpoints.address]).write(pki, "kubelet-serving")
        authority.client("stoker-apiserver", organizations=["system:masters"]).write(pki, "kubelet-client")
    for name, (user, groups) in clients.items():
        client = authority.client(user, organizations=groups)
        text = kubeconfig(endpoints.url, authority.certificate, client)
        write_private(pki / f"{name}.kubeconfig", text.encode())
        if name == "admin":
            client.write(pki, "admin")


def etcd(program: Path, pki: Path, data: Path, endpoints: Endpoints) -> Component:
    """Etcd with one member, reachable with the API server's certificate only."""
    client = f"https://127.0.0.1:{endpoints.etcd_port}"
    peer = f"https://127.0.0.1:{endpoints.etcd_peer_port}"
    flags = {
        "name": "local",
        "data-dir": data,
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"local={peer}",
        "cert-file": pki / "etcd.crt",
        "key-file": pki / "etcd.key",
        "trusted-ca-file": pki / "etcd-ca.crt",
        "client-cert-auth": "true",
        "peer-cert-file": pki / "etcd.crt",
        "peer-key-file": pki / "etcd.key",
        "peer-trusted-ca-file": pki / "etcd-ca.crt",
        "peer-client-cert-auth": "true",
        # The cluster's data need not survive a power cut, and a laptop's disk need not pay for it.
        "unsafe-no-fsync": "true",
        "log-level": "warn",
    }
    return Component("etcd", (str(program), *_flags(flags)))


def apiserver(program: Path, pki: Path, endpoints: Endpoints, *, with_node: bool) -> Component:
    """The API server; `with_node` says whether a controller-manager and a kubelet join it."""
    flags: dict[str, object] = {
        "bind-address": "0.0.0.0" if with_node else endpoints.address,
        "advertise-address": endpoints.address,
        "secure-port": endpoints.api_port,
        "etcd-servers": f"https://127.0.0.1:{endpoints.etcd_port}",
        "etcd-cafile": pki / "etcd-ca.crt",
        "etcd-certfile": pki / "etcd.crt",
        "etcd-keyfile": pki / "etcd.key",
        "client-ca-file": pki / "ca.crt",
        "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key",
        "cert-dir": pki,
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": pki / "service-account.crt",
        "service-account-signing-key-file": pki / "service-account.key",
        "service-cluster-ip-range": SERVICE_RANGE,
        "authorization-mode": "Node,RBAC",
        # For API services behind this one; the controller-manager complains without.
        "requestheader-client-ca-file": pki / "front-proxy-ca.crt",
        "requestheader-allowed-names": "front-proxy",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": pki / "front-proxy.crt",
        "proxy-client-key-file": pki / "front-proxy.key",
        "profiling": "false",
    }
    if with_node:
        flags |= {
            "enable-admission-plugins": "NodeRestriction",
            "kubelet-client-certificate": pki / "kubelet-client.crt",
            "kubelet-client-key": pki / "kubelet-client.key",
            "kubelet-certificate-authority": pki / "ca.crt",
            "kubelet-preferred-address-types": "InternalIP",
        }
    else:
        # Nothing makes default ServiceAccounts here, and a loopback address may not be advertised.
        flags |= {"disable-admission-plugins": "ServiceAccount", "endpoint-reconciler-type": "none"}
    return Component("kube-apiserver", (str(program), *_flags(flags)))


def start(
    processes: Processes, programs: Mapping[str, Path], state: Path, *, timeout: float = 90.0
) -> ApiServer:
    """Start etcd and the API server on free ports of the loopback address; returns when ready.

    `state` is an empty or reusable folder: certificates, data and kubeconfig are written there.
    """
    for attempt in range(1, _START_ATTEMPTS + 1):
        endpoints = Endpoints("127.0.0.1", *free_ports(3))
        try:
            return _start_once(processes, programs, state, endpoints, timeout)
        except LocalError:
            processes.stop()
            # Somebody else may have taken a port between our choosing it and the program's bind.
            taken = any(
                "address already in use" in tail(processes.log(name), 50)
                for name in ("etcd", "kube-apiserver")
            )
            if not taken or attempt == _START_ATTEMPTS:
                raise
    raise AssertionError("unreachable")


@contextmanager
def temporary(programs: Mapping[str, Path], logs: Path | None = None) -> Iterator[ApiServer]:
    """An API server that lives as long as the block; nothing of it remains."""
    state = Path(tempfile.mkdtemp(prefix="stoker-api-"))
    try:
        with Processes(logs or state / "logs") as processes:
            yield start(processes, programs, state)
    finally:
        shutil.rmtree(state, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listened on a moment ago, all different.

    They lie below those that the kernel gives to connections, any of which may take one of these in the
    moment before its program binds it; and below those of NodePorts.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = iter(
        random.SystemRandom().sample(range(20_000, 30_000), 1000) if lowest >= 30_000 else [0] * 1000
    )
    sockets: list[socket.socket] = []
    try:
        while len(sockets) < count:
            sockets.append(socket.socket())
            try:
                sockets[-1].bind(("127.0.0.1", next(candidates)))
            except OSError:
                sockets.pop().close()
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _start_once(
    processes: Processes, programs: Mapping[str, Path], state: Path, endpoints: Endpoints, timeout: float
) -> ApiServer:
    pki = state / "pki"
    write_certificates(pki, endpoints)
    processes.start(etcd(programs["etcd"], pki, state / "etcd", endpoints))
    processes.start(apiserver(programs["kube-apiserver"], pki, endpoints, with_node=False))
    api = Api(endpoints.url, pki)
    processes.wait_until(api.is_ready, timeout, "The API server")
    target = state / "kubeconfig"
    write_private(target, (pki / "admin.kubeconfig").read_bytes())
    return ApiServer(target, endpoints.url, pki / "ca.crt")


def _flags(flags: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]
