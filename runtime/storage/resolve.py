"""A storage URI, a model id or a directory becomes a directory that holds a model."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from runtime.failures import Failure, Reason
from runtime.hub import cache as hub_cache
from runtime.hub.download import locate
from runtime.storage import uri as uris
from runtime.storage.directory import fetch_into
from runtime.storage.files import Choice, RemoteFile, choose, pickle_refused
from runtime.storage.retry import Retrying, Transient
from runtime.storage.transfer import Report

_TRUE = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True)
class Wanted:
    """Which model to serve. `uri` where it is named by one, else `model_id`: of the hub or a directory.

    `mount`: where a pvc:// or file:// URI's folder is mounted.
    """

    model_id: str
    uri: str | None = None
    revision: str | None = None
    mount: Path = Path("/mnt/models")
    choice: Choice = field(default_factory=Choice)


def resolve(
    wanted: Wanted, report: Report, retrying: Retrying, environ: Mapping[str, str] = os.environ
) -> Path:
    """The directory of the model's files; blocks while they are fetched. Raises Failure."""
    choice = replace(wanted.choice, pickle=wanted.choice.pickle or pickle_allowed(environ))
    cache = hub_cache.hub_cache(environ)
    if wanted.uri is None:
        path = locate(wanted.model_id, wanted.revision, cache, report, choice=choice, retrying=retrying)
        source = wanted.model_id
    else:
        uri, source = uris.parse(wanted.uri), wanted.uri
        if uri.scheme == "hf":
            revision = uri.revision or wanted.revision
            path = locate(uri.place, revision, cache, report, choice=choice, retrying=retrying)
        elif uri.scheme == "s3":
            path = _from_s3(uri, report, choice, retrying, environ)
        else:
            path = _mounted(uri, wanted.mount)
    check_model(path, source, pickle=choice.pickle)
    return path


def pickle_allowed(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether STOKER_ALLOW_PICKLE says so."""
    return environ.get("STOKER_ALLOW_PICKLE", "").lower() in _TRUE


def check_model(path: Path, source: str, *, pickle: bool) -> None:
    """Says what is wrong with a model's directory before an engine does in its own words. Raises Failure."""
    missing = hub_cache.missing_files(path)
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise Failure(
            Reason.FILE_MISSING,
            f"{source} names weight files in model.safetensors.index.json that are not there: "
            f"{', '.join(missing[:3])}{more}.",
        )
    barred = sorted(each.name for each in path.iterdir() if each.is_file() and not os.access(each, os.R_OK))
    if barred:  # libraries say of such files that they are not there
        raise Failure(
            Reason.ACCESS_DENIED,
            f"{source} has files that user {os.getuid()}, as which this container runs, may not read: "
            f"{', '.join(barred[:3])}. Make them readable (chmod a+r), or set the pod's fsGroup.",
        )
    pickles = hub_cache.pickles_only(path)
    if pickles and not pickle:
        raise pickle_refused(source, pickles)
    if not hub_cache.complete(path):
        seen = sorted(each.name for each in path.iterdir() if not each.name.startswith("."))
        found = f"it holds {', '.join(seen[:12])}" if seen else "it is empty"
        raise Failure(
            Reason.MODEL_INVALID, f"{source} holds no model: config.json and weights are needed, and {found}."
        )


def _from_s3(
    uri: uris.StorageUri,
    report: Report,
    choice: Choice,
    retrying: Retrying,
    environ: Mapping[str, str],
) -> Path:
    """The prefix as it is now, in a directory of the cache that is named by what is in it."""
    from runtime.storage.s3 import S3Source  # noqa: PLC0415 - only where S3 is asked

    source = S3Source(uri.place, uri.path, environ=environ)
    files = choose(looked(source.look, source.name, retrying), choice, source.name)
    where = _short(f"{source.endpoint or ''} {uri.place}/{uri.path}")
    content = _short(json.dumps(sorted((file.path, file.tag, file.size) for file in files)))
    target = hub_cache.stoker_cache(environ) / "s3" / where / content
    fetch_into(target, source, files, report, retrying)
    return target


def looked(look: Callable[[], list[RemoteFile]], name: str, retrying: Retrying) -> list[RemoteFile]:
    """What a source lists, tried again while that may help. Raises Failure."""
    try:
        return retrying.call(look)
    except Transient as problem:
        raise Failure(
            Reason.STORAGE_UNREACHABLE,
            f"{name} cannot be listed after {retrying.attempts} attempts: {problem.message}",
        ) from problem


def _mounted(uri: uris.StorageUri, mount: Path) -> Path:
    if mount.is_dir():
        return mount
    # A process of the host has the folder itself.
    if uri.scheme == "file" and Path(uri.path).is_dir():
        return Path(uri.path)
    raise Failure(
        Reason.MODEL_NOT_FOUND,
        f"{uri} is not mounted: there is no directory {mount}."
        + (f" Nor is there {uri.path} here." if uri.scheme == "file" else ""),
    )


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
