"""What Kubernetes asks of volumes beyond types and names, by definition of its schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stoker.serving import quantities
from stoker.serving.admission import syntax
from stoker.serving.admission.places import Place
from stoker.serving.admission.pod_shape import Rule
from stoker.serving.problems import FieldProblem, forbidden, invalid, required

Found = Iterator[FieldProblem]
Object = Mapping[str, Any]
_MOST_MODE = 0o777
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
    if not item["key"]:
        yield required(at.field("key").path, "which key is put there")
    yield from _relative(item, at)
    yield from _mode("mode", item, at)


def _relative(item: Object, at: Place) -> Found:
    path = item.get("path") or ""
    if not path or path.startswith("/"):
        yield invalid(at.field("path").path, path, "must be a relative path")
    yield from syntax.no_parents(path, at.field("path").path)


def _mode(name: str, obj: Object, at: Place) -> Found:
    mode = obj.get(name)
    if mode is not None and not 0 <= mode <= _MOST_MODE:
        detail = "must be from 0 to 0777 octal, 511 decimal: 0644 is 420"
        yield invalid(at.field(name).path, mode, detail)


def _files(source: Object, at: Place) -> Found:
    yield from _mode("defaultMode", source, at)


def _pod_file(item: Object, at: Place) -> Found:
    yield from _relative(item, at)
    yield from _mode("mode", item, at)
    if (item.get("fieldRef") is None) == (item.get("resourceFieldRef") is None):
        yield invalid(at.path, dict(item), "must have exactly one of fieldRef and resourceFieldRef")
    resource = item.get("resourceFieldRef")
    if resource is not None and not resource.get("containerName"):
        yield required(at.field("resourceFieldRef").field("containerName").path, "whose resource it is")
    path = (item.get("fieldRef") or {}).get("fieldPath") or ""
    if path and path.partition("[")[0] not in _FIELDS_IN_FILES and not syntax.filled_in_later(path):
        detail = f"must be one of {', '.join(sorted(_FIELDS_IN_FILES))}"
        yield invalid(at.field("fieldRef").field("fieldPath").path, path, detail)


_FIELDS_IN_FILES = frozenset(
    {"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
)


def _nfs(source: Object, at: Place) -> Found:
    if not source.get("server"):
        yield required(at.field("server").path, "the host that serves the files")
    path = source.get("path") or ""
    if not path.startswith("/") and not syntax.filled_in_later(path):
        yield invalid(at.field("path").path, path, "must be an absolute path")


def _ephemeral(source: Object, at: Place) -> Found:
    if source.get("volumeClaimTemplate") is None:
        yield required(at.field("volumeClaimTemplate").path, "the claim that is made for each pod")


def _claim(spec: Object, at: Place) -> Found:
    if not spec.get("accessModes"):
        yield required(at.field("accessModes").path, "at least one: ReadWriteOnce for example")
    for number, mode in enumerate(spec.get("accessModes") or []):
        if not mode:  # others that are none are told by the schema
            yield required(at.field("accessModes").entry(number, mode).path, "ReadWriteOnce for example")
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    path = at.field("resources").field("requests").field("storage").path
    if size is None:
        yield required(path, "how much storage is claimed")
    elif not syntax.filled_in_later(str(size)) and quantities.parse(size) <= 0:
        yield invalid(path, size, "must be more than nothing")


VOLUME_RULES: Mapping[str, Rule] = {
    "Volume": _volume,
    "VolumeProjection": _projection,
    "ConfigMapProjection": _named,
    "SecretProjection": _named,
    "ServiceAccountTokenProjection": _token,
    "EmptyDirVolumeSource": _empty_dir,
    "HostPathVolumeSource": _host_path,
    "KeyToPath": _key_to_path,
    "ConfigMapVolumeSource": _files,
    "SecretVolumeSource": _files,
    "ProjectedVolumeSource": _files,
    "DownwardAPIVolumeSource": _files,
    "DownwardAPIVolumeFile": _pod_file,
    "NFSVolumeSource": _nfs,
    "EphemeralVolumeSource": _ephemeral,
    "PersistentVolumeClaimSpec": _claim,
}
