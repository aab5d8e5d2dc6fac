"""What Kubernetes asks of pods beyond types and names: its validation, by definition of its schema.

Source: k8s.io/kubernetes pkg/apis/core/validation/validation.go (1.37); what a predictor's pod can hit.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stoker.serving.admission import syntax
from stoker.serving.admission.container_rules import CONTAINER_RULES
from stoker.serving.admission.places import Place
from stoker.serving.admission.pod_shape import Rule
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
_NUMBER = re.compile(r"-?[0-9]{1,18}")
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


_SOURCES_WITH_NAME = {"configMap": "name", "secret": "secretName", "persistentVolumeClaim": "claimName"}


def _volume(volume: Object, at: Place) -> Found:
    yield from syntax.dns_label(volume.get("name") or "", at.field("name").path)
    sources = [name for name, value in volume.items() if name != "name" and value is not None]
    for extra in sources[1:]:
        yield forbidden(at.field(extra).path, f"a volume has one source, and this one has {sources[0]}")
    for source, name in _SOURCES_WITH_NAME.items():
        given = volume.get(source)
        if given is not None and not given.get(name):
            yield required(at.field(source).field(name).path, "says which one is mounted")


def _projection(source: Object, at: Place) -> Found:
    given = [name for name, value in source.items() if value is not None]
    if len(given) != 1:
        yield invalid(at.path, given, "must have exactly one source")


def _named(source: Object, at: Place) -> Found:
    if not source.get("name"):
        yield required(at.field("name").path, "says which one is mounted")


def _token(source: Object, at: Place) -> Found:
    path = source.get("path") or ""
    if not path or path.startswith("/"):
        yield invalid(at.field("path").path, path, "must be a relative path")
    yield from syntax.no_parents(path, at.field("path").path)
    yield from syntax.at_least(source, "expirationSeconds", 600, at)


def _empty_dir(source: Object, at: Place) -> Found:
    medium = source.get("medium") or ""
    if medium not in ("", "Memory") and not medium.startswith("HugePages"):
        yield invalid(at.field("medium").path, medium, 'must be "", "Memory" or "HugePages"')
    yield from syntax.not_negative_quantity(source, "sizeLimit", at)


def _host_path(source: Object, at: Place) -> Found:
    yield from syntax.no_parents(source.get("path") or "", at.field("path").path)


def _key_to_path(item: Object, at: Place) -> Found:
    path = item.get("path") or ""
    if not path or path.startswith("/"):
        yield invalid(at.field("path").path, path, "must be a relative path")
    yield from syntax.no_parents(path, at.field("path").path)
    mode = item.get("mode")
    if mode is not None and not 0 <= mode <= 0o777:
        yield invalid(at.field("mode").path, mode, "must be from 0 to 0777 octal, 511 decimal")


def _toleration(toleration: Object, at: Place) -> Found:
    operator = toleration.get("operator") or "Equal"
    if not toleration.get("key") and operator != "Exists":
        yield invalid(at.field("operator").path, operator, "must be Exists where there is no key")
    if operator == "Exists" and toleration.get("value"):
        yield invalid(at.field("value").path, toleration["value"], "must be empty where operator is Exists")
    if toleration.get("tolerationSeconds") is not None and toleration.get("effect") != "NoExecute":
        path = at.field("effect").path
        yield invalid(path, toleration.get("effect"), "must be NoExecute where tolerationSeconds is set")
    if toleration.get("key"):
        yield from syntax.qualified_name(toleration["key"], at.field("key").path)


def _spread(constraint: Object, at: Place) -> Found:
    yield from syntax.at_least(constraint, "maxSkew", 1, at)
    yield from _topology_key(constraint, at)
    if not constraint.get("whenUnsatisfiable"):
        yield required(at.field("whenUnsatisfiable").path, "DoNotSchedule or ScheduleAnyway")


def _topology_key(term: Object, at: Place) -> Found:
    if not term.get("topologyKey"):
        yield required(at.field("topologyKey").path, "a label of nodes, kubernetes.io/hostname for example")
    else:
        yield from syntax.qualified_name(term["topologyKey"], at.field("topologyKey").path)


def _requirement(requirement: Object, at: Place) -> Found:
    operator, values = requirement.get("operator"), requirement.get("values") or []
    path = at.field("values").path
    if operator in ("In", "NotIn") and not values:
        yield required(path, f"operator {operator} compares with one or more")
    if operator in ("Exists", "DoesNotExist") and values:
        yield forbidden(path, f"operator {operator} compares with none")
    if operator in ("Gt", "Lt") and (len(values) != 1 or not _NUMBER.fullmatch(values[0])):
        yield invalid(path, values, f"must be one whole number for operator {operator}")
    if operator not in ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"):
        yield invalid(at.field("operator").path, operator, "must be In, NotIn, Exists or DoesNotExist")
    yield from syntax.qualified_name(requirement.get("key") or "", at.field("key").path)


def _weight(term: Object, at: Place) -> Found:
    if not 1 <= (term.get("weight") or 0) <= 100:
        yield invalid(at.field("weight").path, term.get("weight"), "must be from 1 to 100")


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


def _pod_security(context: Object, at: Place) -> Found:
    for name in ("runAsUser", "runAsGroup", "fsGroup"):
        yield from syntax.at_least(context, name, 0, at)
    if context.get("runAsNonRoot") and context.get("runAsUser") == 0:
        yield invalid(at.field("runAsUser").path, 0, "must not be 0 where runAsNonRoot is true")
    seen: set[str] = set()
    for number, each in enumerate(context.get("sysctls") or []):
        if each.get("name") in seen:
            yield duplicate(at.field("sysctls").entry(number, each).field("name").path, each.get("name"))
        seen.add(each.get("name"))


RULES: Mapping[str, Rule] = {
    **CONTAINER_RULES,
    "PodSpec": _pod,
    "Volume": _volume,
    "VolumeProjection": _projection,
    "ConfigMapProjection": _named,
    "SecretProjection": _named,
    "ServiceAccountTokenProjection": _token,
    "EmptyDirVolumeSource": _empty_dir,
    "HostPathVolumeSource": _host_path,
    "KeyToPath": _key_to_path,
    "Toleration": _toleration,
    "TopologySpreadConstraint": _spread,
    "PodAffinityTerm": _topology_key,
    "NodeSelectorRequirement": _requirement,
    "LabelSelectorRequirement": _requirement,
    "PreferredSchedulingTerm": _weight,
    "WeightedPodAffinityTerm": _weight,
    "HostAlias": _host_alias,
    "PodDNSConfig": _dns,
    "PodSecurityContext": _pod_security,
}
