"""Storage URIs: hf://OWNER/MODEL[:REVISION], s3://BUCKET/PREFIX, pvc://CLAIM/PATH, file:///PATH.

`stoker.serving.rendering.storage_uri` reads the same shapes on the cluster's side: this program's image
holds none of that code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from runtime.failures import Failure, Reason

SCHEMES = ("hf", "s3", "pvc", "file")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,254}", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class StorageUri:
    """`place`: repository, bucket, claim or "" for file; `path`: prefix or folder; `revision`: hf only."""

    scheme: str
    place: str
    path: str = ""
    revision: str | None = None
    text: str = ""

    def __str__(self) -> str:
        return self.text


def parse(text: str) -> StorageUri:
    """The URI in parts. Raises Failure(InvalidArgument) that says what is wrong with it."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in SCHEMES:
        raise _bad(text, f"must begin with one of {', '.join(f'{each}://' for each in SCHEMES)}")
    if scheme == "hf":
        return _hub(text, rest)
    if scheme == "file":
        return StorageUri("file", "", _path(text, "/" + rest.strip("/")), text=text)
    place, _, path = rest.partition("/")
    if not place:
        raise _bad(text, "names no bucket" if scheme == "s3" else "names no claim")
    if scheme == "s3" and not _BUCKET.fullmatch(place):
        raise _bad(text, f"{place!r} is no name of a bucket")
    return StorageUri(scheme, place, _path(text, path.strip("/")), text=text)


def _hub(text: str, rest: str) -> StorageUri:
    found = re.fullmatch(r"([^:@]*)(?:[:@](.*))?", rest)
    repository, revision = (found[1], found[2]) if found else ("", None)
    if not _REPOSITORY.fullmatch(repository) or ".." in repository or "--" in repository:
        raise _bad(text, "must be hf://OWNER/MODEL or hf://OWNER/MODEL:REVISION")
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise _bad(text, f"{revision!r} is no branch, tag or commit")
    return StorageUri("hf", repository, "", revision, text)


def _path(text: str, path: str) -> str:
    if any(part in (".", "..") for part in path.split("/")) or "\0" in path:
        raise _bad(text, "must not have '.' or '..' in its path")
    return path


def _bad(text: str, why: str) -> Failure:
    return Failure(Reason.INVALID_ARGUMENT, f"storage URI {text}: {why}.")
