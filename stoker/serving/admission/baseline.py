"""Pod Security's level `baseline`, as a list of what only pods of trusted namespaces may have.

Source: k8s.io/pod-security-admission 0.37, policy/check_*.go: that level's checks, each in its newest form.
A placeholder is none of the values that are allowed: what it will be cannot be judged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from stoker.serving import names
from stoker.serving.api.reading import objects
from stoker.serving.problems import FieldProblem, child, forbidden

CAPABILITIES: frozenset[str] = frozenset(
    """
    AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID
    SYS_CHROOT
    """.split()  # noqa: SIM905
)
SYSCTLS: frozenset[str] = frozenset(
    """
    kernel.shm_rmid_forced net.ipv4.ip_local_port_range net.ipv4.ip_local_reserved_ports
    net.ipv4.ip_unprivileged_port_start net.ipv4.ping_group_range net.ipv4.tcp_fin_timeout
    net.ipv4.tcp_keepalive_intvl net.ipv4.tcp_keepalive_probes net.ipv4.tcp_keepalive_time
    net.ipv4.tcp_notsent_lowat net.ipv4.tcp_rmem net.ipv4.tcp_slow_start_after_idle net.ipv4.tcp_syncookies
    net.ipv4.tcp_wmem
    """.split()  # noqa: SIM905
)
SELINUX_TYPES: frozenset[str] = frozenset(
    {"", "container_engine_t", "container_init_t", "container_kvm_t", "container_t"}
)
APPARMOR_PREFIX = "container.apparmor.security.beta.kubernetes.io/"
PROFILES: frozenset[str] = frozenset({"Localhost", "RuntimeDefault"})
_HOST = ("hostIPC", "hostNetwork", "hostPID")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HOOKS = ("postStart", "preStop")

Found = Iterator[FieldProblem]
NEEDS = f"needs a namespace with the label {names.SECURITY_LABEL}: trusted"


def refused(path: str, what: str, about: Any = "") -> FieldProblem:
    """`about`: the value, where an update may put another one, as bad, into its place."""
    shown = json.dumps(about, sort_keys=True, default=str) if about else ""
    return replace(forbidden(path, f"{what}; {NEEDS}"), about=shown)


def of_pod(spec: Mapping[str, Any], path: str) -> Found:
    """A pod's own fields and its annotations, without its containers."""
    for name in _HOST:
        if spec.get(name) is True:
            yield refused(child(path, name), "shares the node with the pod")
    for number, volume in objects(spec.get("volumes")):
        if volume.get("hostPath") is not None:
            where = child(path, "volumes", number, "hostPath")
            yield refused(where, "opens the node's files to the pod", volume["hostPath"])
    for key, value in _mapping(spec.get("annotations")).items():
        if str(key).startswith(APPARMOR_PREFIX) and not _profile_of_old(value):
            yield refused(child(path, "annotations", str(key)), "lifts AppArmor's limits", value)
    context = _mapping(spec.get("securityContext"))
    where = child(path, "securityContext")
    yield from _context(context, where)
    for number, each in objects(context.get("sysctls")):
        sysctl = each.get("name")
        if isinstance(sysctl, str) and sysctl not in SYSCTLS:
            what = f"{sysctl} is a setting of the kernel that others share"
            yield refused(child(where, "sysctls", number, "name"), what, sysctl)


def of_container(container: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> Found:
    """A container of the pod `spec`."""
    for number, port in objects(container.get("ports")):
        if port.get("hostPort"):
            where = child(path, "ports", number, "hostPort")
            yield refused(where, "takes a port of the node", port["hostPort"])
    for name in _PROBES:
        yield from _hosts(container.get(name), child(path, name))
    for name in _HOOKS:
        hook = _mapping(container.get("lifecycle")).get(name)
        yield from _hosts(hook, child(path, "lifecycle", name))
    context = _mapping(container.get("securityContext"))
    where = child(path, "securityContext")
    mount = context.get("procMount")
    if mount not in (None, "", "Default") and spec.get("hostUsers") is not False:
        yield _of(container, refused(child(where, "procMount"), "opens the node's kernel settings"))
    for problem in _context(context, where):
        yield _of(container, problem)


def _of(container: Mapping[str, Any], problem: FieldProblem) -> FieldProblem:
    """What one container was allowed another was not, though it stand where the first one stood."""
    return replace(problem, about=f"{container.get('name', '')} {problem.about}".strip())


def _hosts(handler: Any, path: str) -> Found:
    for how in ("httpGet", "tcpSocket"):
        host = _mapping(_mapping(handler).get(how)).get("host")
        if host:
            yield refused(child(path, how, "host"), "lets the node ask any address", host)


def _context(context: Mapping[str, Any], path: str) -> Found:
    if context.get("privileged") is True:
        yield refused(child(path, "privileged"), "is root on the node")
    for name, what in (
        ("seccompProfile", "the filter of system calls"),
        ("appArmorProfile", "AppArmor's limits"),
    ):
        kind = _mapping(context.get(name)).get("type")
        if kind not in (None, "", *PROFILES):
            yield refused(child(path, name, "type"), f"lifts {what}")
    options = _mapping(context.get("seLinuxOptions"))
    domain = options.get("type")
    if isinstance(domain, str) and domain not in SELINUX_TYPES:
        yield refused(child(path, "seLinuxOptions", "type"), f"{domain} is no type of a container's", domain)
    for name in ("role", "user"):
        if options.get(name):
            where = child(path, "seLinuxOptions", name)
            yield refused(where, f"changes SELinux's {name} of the container", options[name])
    if _mapping(context.get("windowsOptions")).get("hostProcess") is True:
        yield refused(child(path, "windowsOptions", "hostProcess"), "runs on the node itself")
    added = _mapping(context.get("capabilities")).get("add")
    for number, name in enumerate(added if isinstance(added, list) else []):
        if isinstance(name, str) and name not in CAPABILITIES:
            yield refused(child(path, "capabilities", "add", number), f"{name} reaches beyond the pod")


def _profile_of_old(value: Any) -> bool:
    """Of the annotations that were before the field."""
    return value in ("", "runtime/default") or (isinstance(value, str) and value.startswith("localhost/"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
