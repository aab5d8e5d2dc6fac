"""What Kubernetes asks of containers beyond types and names, by definition of its schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from stoker.serving.admission import syntax
from stoker.serving.admission.places import Place
from stoker.serving.admission.pod_shape import Rule
from stoker.serving.admission.resource_rules import RESOURCE_RULES
from stoker.serving.admission.variable_rules import VARIABLE_RULES
from stoker.serving.problems import (
    FieldProblem,
    duplicate,
    forbidden,
    invalid,
    not_found,
    not_supported,
    required,
)

Found = Iterator[FieldProblem]
# As container engines read it: github.com/distribution/reference, regexp.go.
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@[A-Za-z0-9+._-]+:[0-9A-Fa-f]{{32,}})?"
)
_LONGEST_IMAGE = 1024  # more than registries take
Object = Mapping[str, Any]
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_HANDLERS = ("exec", "grpc", "httpGet", "tcpSocket")
_RESTARTS = ("Always", "Never", "OnFailure")
_RESIZES = ("NotRequired", "RestartContainer")
_HEADER = re.compile(r"[-A-Za-z0-9]+")
_HOOKS = ("exec", "httpGet", "sleep", "tcpSocket")


def _container(container: Object, at: Place) -> Found:
    yield from syntax.dns_label(container.get("name") or "", at.field("name").path)
    image = container.get("image") or ""
    if image != image.strip():
        yield invalid(at.field("image").path, image, "must not begin or end with white space")
    elif image and not _is_image(image) and not syntax.filled_in_later(image):
        detail = 'must be an image: "registry.example.com/group/name:tag", the name in lower case'
        yield invalid(at.field("image").path, image, detail)
    for name in _PROBES:
        probe = container.get(name)
        if probe:
            yield from _probe_in(container, probe, name, at.field(name))
    yield from _port_names(container, at.field("ports"))
    policy = container.get("restartPolicy")
    if policy not in (None, *_RESTARTS) and not syntax.filled_in_later(policy):
        yield not_supported(at.field("restartPolicy").path, policy, _RESTARTS)
    seen: set[str] = set()
    for number, each in enumerate(container.get("resizePolicy") or []):
        if each.get("resourceName") in seen:
            path = at.field("resizePolicy").entry(number, each).field("resourceName").path
            yield duplicate(path, each["resourceName"])
        seen.add(each.get("resourceName"))
    privileged = (container.get("securityContext") or {}).get("privileged")
    for number, mount in enumerate(container.get("volumeMounts") or []):
        if mount.get("mountPropagation") == "Bidirectional" and not privileged:
            place = at.field("volumeMounts").entry(number, mount, ("mountPath",))
            yield forbidden(
                place.field("mountPropagation").path, "Bidirectional is for privileged containers"
            )


def _is_image(text: str) -> bool:
    return len(text) <= _LONGEST_IMAGE and _IMAGE.fullmatch(text) is not None


def _probe_in(container: Object, probe: Object, name: str, at: Place) -> Found:
    successes = probe.get("successThreshold")
    if name != "readinessProbe" and successes not in (None, 0, 1):
        yield invalid(at.field("successThreshold").path, successes, f"must be 1 for a {name}")
    if name == "readinessProbe" and probe.get("terminationGracePeriodSeconds") is not None:
        path = at.field("terminationGracePeriodSeconds").path
        yield forbidden(path, "a readinessProbe ends no container")
    known = [each["name"] for each in container.get("ports") or [] if each.get("name")]
    for handler in ("httpGet", "tcpSocket"):
        port = (probe.get(handler) or {}).get("port")
        if isinstance(port, str) and port not in known:
            path = at.field(handler).field("port").path
            yield not_found(path, port, known, "write the name of one of the container's ports, or a number")


def _port_names(container: Object, at: Place) -> Found:
    seen: set[str] = set()
    for number, port in enumerate(container.get("ports") or []):
        name = port.get("name")
        if name and name in seen:
            yield duplicate(at.entry(number, port, ("containerPort", "protocol")).field("name").path, name)
        seen.add(name)


def _port(port: Object, at: Place) -> Found:
    yield from syntax.port_number(port["containerPort"], at.field("containerPort").path)
    if port.get("hostPort"):
        yield from syntax.port_number(port["hostPort"], at.field("hostPort").path)
    if port.get("name"):
        yield from syntax.port_name(port["name"], at.field("name").path)


def _resize(policy: Object, at: Place) -> Found:
    for name, allowed in (("resourceName", ("cpu", "memory")), ("restartPolicy", _RESIZES)):
        given = policy.get(name) or ""
        if given not in allowed and not syntax.filled_in_later(given):
            yield not_supported(at.field(name).path, given, allowed)


def _header(header: Object, at: Place) -> Found:
    name = header.get("name") or ""
    if not _HEADER.fullmatch(name) and not syntax.filled_in_later(name):
        yield invalid(at.field("name").path, name, "must be letters, digits and '-'")


def _probe(probe: Object, at: Place) -> Found:
    yield from _one_of(probe, _HANDLERS, at)
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold"):
        yield from syntax.at_least(probe, name, 0, at)
    yield from syntax.at_least(probe, "failureThreshold", 0, at)
    yield from syntax.at_least(probe, "terminationGracePeriodSeconds", 1, at)


def _hook(hook: Object, at: Place) -> Found:
    yield from _one_of(hook, _HOOKS, at)


def _one_of(obj: Object, names: tuple[str, ...], at: Place) -> Found:
    given = [name for name in names if obj.get(name) is not None]
    if not given:
        yield required(at.path, f"one of {', '.join(names)}")
    for name in given[1:]:
        yield forbidden(at.field(name).path, f"{given[0]} is set: only one of {', '.join(names)} may be")


def _asks_port(action: Object, at: Place) -> Found:
    port = action["port"]
    path = at.field("port").path
    if isinstance(port, str):
        yield from syntax.port_name(port, path)
    else:
        yield from syntax.port_number(port, path)


def _exec(action: Object, at: Place) -> Found:
    if not action.get("command"):
        yield required(at.field("command").path, "the program to run, with its arguments")


def _sleep(action: Object, at: Place) -> Found:
    yield from syntax.at_least(action, "seconds", 0, at)


# Fields where an empty word is no default.
_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_PROC_MOUNTS = ("Default", "Unmasked")


def _mount(mount: Object, at: Place) -> Found:
    if not mount["name"]:
        yield required(at.field("name").path, "the name of a volume")
    if ":" in mount["mountPath"]:
        yield invalid(at.field("mountPath").path, mount["mountPath"], "must not contain ':'")
    if mount.get("subPath") and mount.get("subPathExpr"):
        yield forbidden(at.field("subPathExpr").path, "subPath is set: only one of the two may be")
    if mount.get("mountPropagation") == "":
        yield not_supported(at.field("mountPropagation").path, "", _PROPAGATIONS)
    for name in ("subPath", "subPathExpr"):
        value = mount.get(name) or ""
        if value.startswith("/"):
            yield invalid(at.field(name).path, value, "must be a relative path")
        yield from syntax.no_parents(value, at.field(name).path)


def _security(context: Object, at: Place) -> Found:
    for name in ("runAsUser", "runAsGroup"):
        yield from syntax.user_number(context, name, at)
    path = at.field("allowPrivilegeEscalation").path
    added = (context.get("capabilities") or {}).get("add") or []
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            yield invalid(path, False, "must not be false where privileged is true")
        if "SYS_ADMIN" in added or "CAP_SYS_ADMIN" in added:
            yield invalid(path, False, "must not be false where SYS_ADMIN is added")
    if context.get("procMount") == "":
        yield not_supported(at.field("procMount").path, "", _PROC_MOUNTS)
    if context.get("runAsNonRoot") and context.get("runAsUser") == 0:
        yield invalid(at.field("runAsUser").path, 0, "must not be 0 where runAsNonRoot is true")


def _profile(profile: Object, at: Place) -> Found:
    if not profile.get("type"):
        yield required(at.field("type").path, "RuntimeDefault, Localhost or Unconfined")
    local = profile.get("type") == "Localhost"
    path = at.field("localhostProfile").path
    if local and not profile.get("localhostProfile"):
        yield required(path, "type Localhost names a profile on the node")
    if not local and profile.get("localhostProfile"):
        yield forbidden(path, "only for type Localhost")


CONTAINER_RULES: Mapping[str, Rule] = {
    **RESOURCE_RULES,
    **VARIABLE_RULES,
    "Container": _container,
    "ContainerPort": _port,
    "ContainerResizePolicy": _resize,
    "HTTPHeader": _header,
    "Probe": _probe,
    "LifecycleHandler": _hook,
    "HTTPGetAction": _asks_port,
    "TCPSocketAction": _asks_port,
    "GRPCAction": _asks_port,
    "ExecAction": _exec,
    "SleepAction": _sleep,
    "VolumeMount": _mount,
    "SecurityContext": _security,
    "SeccompProfile": _profile,
    "AppArmorProfile": _profile,
}
