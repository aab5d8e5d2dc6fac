"""What Kubernetes asks of environment variables beyond types and names, by definition of its schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stoker.serving.admission import syntax
from stoker.serving.admission.places import Place
from stoker.serving.admission.pod_shape import Rule
from stoker.serving.problems import FieldProblem, forbidden, invalid, not_supported, required

Found = Iterator[FieldProblem]
Object = Mapping[str, Any]


def _env(variable: Object, at: Place) -> Found:
    if not variable["name"]:
        yield required(at.field("name").path, "the name of the variable")
    else:
        yield from syntax.env_name(variable["name"], at.field("name").path)
    path = ((variable.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath")
    if path in _OF_KEYS:
        where = at.field("valueFrom").field("fieldRef").field("fieldPath").path
        yield invalid(where, path, f"names no key: {path}['KEY'] is one of them")
    if variable.get("value") and variable.get("valueFrom") is not None:
        yield forbidden(at.field("valueFrom").path, "value is set: a variable has one of the two")


def _env_source(source: Object, at: Place) -> Found:
    given = [name for name, value in source.items() if value is not None]
    if not given:
        yield required(at.path, f"one of {_SOURCES}")
    elif len(given) > 1:
        yield invalid(at.path, sorted(given), f"must have exactly one of {_SOURCES}")


def _key_reference(reference: Object, at: Place) -> Found:
    if not reference.get("name"):
        yield required(at.field("name").path, "the name of the object that holds the key")
    else:
        yield from syntax.dns_name(reference["name"], at.field("name").path)
    yield from syntax.data_key(reference.get("key") or "", at.field("key").path)


def _env_from(source: Object, at: Place) -> Found:
    given = [name for name in ("configMapRef", "secretRef") if source.get(name) is not None]
    if not given:
        yield required(at.path, "one of configMapRef and secretRef")
    elif len(given) > 1:
        yield invalid(at.path, given, "must have exactly one of configMapRef and secretRef")
    for name in given:
        if not source[name].get("name"):
            yield required(at.field(name).field("name").path, "the name of the object that is read")
        else:
            yield from syntax.dns_name(source[name]["name"], at.field(name).field("name").path)
    if source.get("prefix"):
        yield from syntax.env_name(source["prefix"], at.field("prefix").path)


def _resource_field(reference: Object, at: Place) -> Found:
    name = reference.get("resource") or ""
    large = name.startswith(("limits.hugepages-", "requests.hugepages-"))
    if name not in _RESOURCE_FIELDS and not large and not syntax.filled_in_later(name):
        yield not_supported(at.field("resource").path, name, _RESOURCE_FIELDS)


def _field(reference: Object, at: Place) -> Found:
    given = reference.get("fieldPath") or ""
    path = at.field("fieldPath").path
    if reference.get("apiVersion") not in (None, "", "v1"):
        yield invalid(at.field("apiVersion").path, reference["apiVersion"], "must be v1")
    base, opened, key = given.removesuffix("']").partition("['")
    if syntax.filled_in_later(given):
        return
    if not (base and opened and given.endswith("']")):
        if given not in _FIELDS:
            yield invalid(path, given, f"must be one of {', '.join(sorted(_FIELDS))}")
    elif base not in _OF_KEYS:
        yield invalid(path, given, f"must have no ['KEY']: only {' and '.join(sorted(_OF_KEYS))} do")
    else:
        yield from syntax.qualified_name(key.lower() if base == "metadata.annotations" else key, path)


_SOURCES = "configMapKeyRef, fieldRef, fileKeyRef, resourceFieldRef, secretKeyRef"
_RESOURCE_FIELDS = tuple(
    f"{part}.{name}" for part in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory")
)
_OF_KEYS = frozenset({"metadata.annotations", "metadata.labels"})
_FIELDS = frozenset(
    """
    metadata.annotations metadata.labels metadata.name metadata.namespace metadata.uid spec.nodeName
    spec.serviceAccountName status.hostIP status.hostIPs status.podIP status.podIPs
    """.split()  # noqa: SIM905
)


VARIABLE_RULES: Mapping[str, Rule] = {
    "EnvVar": _env,
    "EnvVarSource": _env_source,
    "EnvFromSource": _env_from,
    "SecretKeySelector": _key_reference,
    "ConfigMapKeySelector": _key_reference,
    "ObjectFieldSelector": _field,
    "ResourceFieldSelector": _resource_field,
}
