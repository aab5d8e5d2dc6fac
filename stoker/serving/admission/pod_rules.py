"""What Kubernetes asks of pods beyond types and names: its validation, by definition of its schema.

Source: k8s.io/kubernetes pkg/apis/core/validation/validation.go (1.37); what a predictor's pod can hit.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stoker.serving.admission import resource_rules, syntax
from stoker.serving.admission.container_rules import CONTAINER_RULES
from stoker.serving.admission.places import Place
from stoker.serving.admission.pod_shape import Rule
from stoker.serving.admission.scheduling_rules import SCHEDULING_RULES
from stoker.serving.admission.volume_rules import VOLUME_RULES
from stoker.serving.problems import (
    MOST_HINTS,
    FieldProblem,
    child,
    duplicate,
    forbidden,
    invalid,
    not_found,
    required,
)

Found = Iterator[FieldProblem]
Object = Mapping[str, Any]


def _pod(pod: Object, at: Place) -> Found:
    for name, check in _POD_SYNTAX.items():
        given = pod.get(name)
        if given or (given == "" and name in _NEVER_EMPTY):
            yield from check(given, at.field(name).path)
    for key, value in (pod.get("nodeSelector") or {}).items():
        path = child(at.field("nodeSelector").path, key)
        yield from syntax.qualified_name(key, path)
        yield from syntax.label_value(value, path)
    if pod.get("dnsPolicy") == "None" and not (pod.get("dnsConfig") or {}).get("nameservers"):
        yield required(at.field("dnsConfig").field("nameservers").path, "dnsPolicy None needs at least one")
    yield from syntax.at_least(pod, "terminationGracePeriodSeconds", 0, at)
    if pod.get("resources"):
        yield from resource_rules.of_pod(pod["resources"], at.field("resources"))


# Kubernetes tells an empty one from an absent one.
_NEVER_EMPTY = frozenset({"runtimeClassName"})
_POD_SYNTAX = {
    "hostname": syntax.dns_label,
    "subdomain": syntax.dns_label,
    "nodeName": syntax.dns_name,
    "priorityClassName": syntax.dns_name,
    "runtimeClassName": syntax.dns_name,
    "schedulerName": syntax.dns_name,
    "serviceAccount": syntax.dns_name,
    "serviceAccountName": syntax.dns_name,
}


def sleeps(pod: Object, at: Place) -> Found:
    """No hook may sleep for longer than the pod's end may take."""
    grace = pod.get("terminationGracePeriodSeconds")
    for container in pod.get("containers") or []:
        for hook in ("preStop", "postStart"):
            sleep = ((container.get("lifecycle") or {}).get(hook) or {}).get("sleep") or {}
            seconds = sleep.get("seconds", 0)
            if grace is not None and isinstance(seconds, int) and seconds > grace:
                detail = f"must not be less than the {seconds} seconds that {hook} sleeps"
                yield invalid(at.field("terminationGracePeriodSeconds").path, grace, detail)


def volumes_that_exist(
    containers: Sequence[tuple[Object, Place]], volumes: list[Any], claims: list[Any]
) -> Found:
    """Mounts and devices name a volume of the pod, resources a claim of it."""
    known = {str(each.get("name")) for each in volumes if isinstance(each, dict)}
    claimed = {str(each.get("name")) for each in claims if isinstance(each, dict)}
    missing = 0
    for container, at in containers:
        for kind, keys in (("volumeMounts", ("mountPath",)), ("volumeDevices", ("devicePath",))):
            for number, each in enumerate(container.get(kind) or []):
                name = each.get("name")
                if isinstance(name, str) and name and name not in known:
                    path = at.field(kind).entry(number, each, keys).field("name").path
                    missing += 1
                    detail = "write the volume under volumes"
                    yield not_found(path, name, known, detail, hint=missing <= MOST_HINTS)
        wanted = (container.get("resources") or {}).get("claims") or []
        for number, each in enumerate(wanted):
            if isinstance(each, dict) and isinstance(each.get("name"), str) and each["name"] not in claimed:
                path = at.field("resources").field("claims").entry(number, each, ("name",)).field("name").path
                missing += 1
                detail = "write the claim under resourceClaims"
                yield not_found(path, each["name"], claimed, detail, hint=missing <= MOST_HINTS)


def _address(value: str, path: str) -> Found:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        yield invalid(path, value, "must be an IP address")


def _dns(config: Object, at: Place) -> Found:
    for name, most in (("nameservers", 3), ("searches", 32)):
        if len(config.get(name) or []) > most:
            yield invalid(at.field(name).path, len(config[name]), f"must be at most {most}")
    for number, each in enumerate(config.get("nameservers") or []):
        yield from _address(each, at.field("nameservers").entry(number, each).path)
    for number, each in enumerate(config.get("searches") or []):
        if not _SEARCHED.fullmatch(each):
            yield invalid(at.field("searches").entry(number, each).path, each, "must be a domain")
    for number, each in enumerate(config.get("options") or []):
        if not each.get("name"):
            yield required(at.field("options").entry(number, each).field("name").path, "what is set")


_PART = r"_?[a-z0-9](?:[-_a-z0-9]{0,61}[a-z0-9])?"
_SEARCHED = re.compile(rf"\.|{_PART}(?:\.{_PART})*\.?")


def _host_alias(alias: Object, at: Place) -> Found:
    yield from _address(alias.get("ip") or "", at.field("ip").path)
    for number, name in enumerate(alias.get("hostnames") or []):
        yield from syntax.dns_name(name, at.field("hostnames").entry(number, name).path)


def _gate(gate: Object, at: Place) -> Found:
    yield from syntax.qualified_name(gate.get("conditionType") or "", at.field("conditionType").path)


def _scheduling_gate(gate: Object, at: Place) -> Found:
    yield from syntax.qualified_name(gate.get("name") or "", at.field("name").path)


def _claim(claim: Object, at: Place) -> Found:
    yield from syntax.dns_label(claim.get("name") or "", at.field("name").path)
    given = [
        name for name in ("resourceClaimName", "resourceClaimTemplateName") if claim.get(name) is not None
    ]
    if not given:
        yield required(at.path, "one of resourceClaimName and resourceClaimTemplateName")
    elif len(given) > 1:
        detail = "must have exactly one of resourceClaimName and resourceClaimTemplateName"
        yield invalid(at.path, given, detail)
    for name in given:
        yield from syntax.dns_name(claim[name], at.field(name).path)


def only_sidecars(containers: Sequence[tuple[Object, Place]]) -> Found:
    """Init containers that end before the others begin are neither probed nor told of an end."""
    for container, at in containers:
        if container.get("restartPolicy") == "Always":
            continue
        for name in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
            if container.get(name) is not None:
                yield forbidden(at.field(name).path, "in init containers only with restartPolicy: Always")
        for number, each in enumerate(container.get("resizePolicy") or []):
            if each.get("restartPolicy") == "RestartContainer":
                path = at.field("resizePolicy").entry(number, each).field("restartPolicy").path
                detail = "must be NotRequired in init containers without restartPolicy: Always"
                yield invalid(path, "RestartContainer", detail)


def _pod_security(context: Object, at: Place) -> Found:
    for name in ("runAsUser", "runAsGroup", "fsGroup"):
        yield from syntax.user_number(context, name, at)
    for number, each in enumerate(context.get("supplementalGroups") or []):
        yield from syntax.user_id(each, at.field("supplementalGroups").entry(number, each).path)
    if context.get("runAsNonRoot") and context.get("runAsUser") == 0:
        yield invalid(at.field("runAsUser").path, 0, "must not be 0 where runAsNonRoot is true")
    seen: set[str] = set()
    for number, each in enumerate(context.get("sysctls") or []):
        if each.get("name") in seen:
            yield duplicate(at.field("sysctls").entry(number, each).field("name").path, each.get("name"))
        seen.add(each.get("name"))


RULES: Mapping[str, Rule] = {
    **CONTAINER_RULES,
    **VOLUME_RULES,
    **SCHEDULING_RULES,
    "PodSpec": _pod,
    "PodReadinessGate": _gate,
    "PodSchedulingGate": _scheduling_gate,
    "PodResourceClaim": _claim,
    "HostAlias": _host_alias,
    "PodDNSConfig": _dns,
    "PodSecurityContext": _pod_security,
}
