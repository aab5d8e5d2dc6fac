"""Storage URIs of InferenceServices: what they name, and what is wrong with them.

`runtime.storage.uri` reads the same shapes in the pod; a test holds the two together.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from stoker.serving.problems import FieldProblem, forbidden, invalid, nearest, not_supported

SCHEMES = ("hf", "s3", "pvc", "file")
# KServe's others, and what to do about them.
_ELSEWHERE = {
    "gs": "Google's storage speaks S3 too: s3:// with AWS_ENDPOINT_URL=https://storage.googleapis.com",
    "http": "put the model into a bucket or onto a volume",
    "https": "put the model into a bucket or onto a volume",
    "hdfs": "copy the model onto a volume",
    "webhdfs": "copy the model onto a volume",
    "oci": "models in images are not mounted yet; copy the model onto a volume",
    "oci+native": "models in images are not mounted yet; copy the model onto a volume",
    "oci+fetch": "models in images are not mounted yet; copy the model onto a volume",
    "modelscope": "use the same model of the hub, by hf://",
}
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,254}", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_CLAIM = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LONGEST = 2048


@dataclass(frozen=True)
class StorageUri:
    """`place`: repository, bucket or claim, "" for file; `path`: prefix or folder; `revision`: hf only."""

    scheme: str
    place: str
    path: str = ""
    revision: str | None = None
    text: str = ""


def read(text: str, path: str, *, file_uris: bool) -> tuple[StorageUri | None, list[FieldProblem]]:
    """The URI in parts, or what is wrong with it. `path`: the field that it stands in."""
    problems = list(_problems(text, path, file_uris=file_uris))
    return (None if problems else _parts(text)), problems


def is_model_id(text: str) -> bool:
    """Whether the hub could have a model of this name: OWNER/MODEL, or MODEL where it is one of the first."""
    owned = text if "/" in text else f"owner/{text}"
    return _REPOSITORY.fullmatch(owned) is not None and ".." not in text and "--" not in text


def _parts(text: str) -> StorageUri:
    scheme, _, rest = text.partition("://")
    if scheme == "hf":
        repository, revision = _revision(rest)
        return StorageUri("hf", repository, "", revision, text)
    if scheme == "file":
        return StorageUri("file", "", "/" + rest.strip("/"), text=text)
    place, _, below = rest.partition("/")
    return StorageUri(scheme, place, below.strip("/"), text=text)


def _problems(text: str, path: str, *, file_uris: bool) -> Iterator[FieldProblem]:
    scheme, separator, rest = text.partition("://")
    usable = [each for each in SCHEMES if each != "file" or file_uris]
    if not separator:
        yield invalid(path, text, f"must begin with {_listed(usable)}")
        return
    if scheme == "file" and not file_uris:
        yield forbidden(
            path,
            "file:// names a folder of the node, which only a local cluster may give to pods (file_uris in "
            "the settings); use a volume, by pvc://CLAIM/PATH",
        )
        return
    if scheme not in SCHEMES:
        yield not_supported(path, scheme, usable, _ELSEWHERE.get(scheme) or _meant(scheme, usable))
        return
    if len(text) > _LONGEST or any(ord(each) < 33 or ord(each) == 127 for each in text):
        detail = f"must be at most {_LONGEST} characters, without spaces or control characters"
        yield invalid(path, text, detail)
        return
    if any(part in (".", "..") for part in rest.split("/")):
        yield invalid(path, text, "must not have '.' or '..' in its path")
    if scheme == "hf":
        yield from _hub(text, rest, path)
    elif scheme == "file":
        if not rest.startswith("/") or not rest.strip("/"):
            yield invalid(path, text, "must be file:///PATH, with the path of a folder from the root")
    else:
        yield from _place(text, scheme, rest.partition("/")[0], path)


def _hub(text: str, rest: str, path: str) -> Iterator[FieldProblem]:
    repository, revision = _revision(rest)
    if "/" not in repository or not is_model_id(repository):
        detail = "must be hf://OWNER/MODEL or hf://OWNER/MODEL:REVISION"
        if repository.count("/") > 1:
            detail += ": exactly an owner and a model, no folder in it"
        yield invalid(path, text, detail)
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        yield invalid(path, text, f"{revision or 'nothing'} is no branch, tag or commit")


def _place(text: str, scheme: str, place: str, path: str) -> Iterator[FieldProblem]:
    if scheme == "s3" and not _BUCKET.fullmatch(place):
        detail = "names no bucket: s3://BUCKET/PREFIX" if not place else f"{place!r} is no name of a bucket"
        yield invalid(path, text, detail)
    if scheme == "pvc" and not (_CLAIM.fullmatch(place) and len(place) <= 253):
        detail = "names no claim: pvc://CLAIM/PATH"
        yield invalid(path, text, detail if not place else f"{place!r} is no name of a PersistentVolumeClaim")


def _meant(scheme: str, usable: list[str]) -> str:
    """The scheme whose few letters these nearly are: too short a word for `nearest`."""
    found = difflib.get_close_matches(scheme.lower(), usable, n=1, cutoff=0.6)
    known = nearest(scheme, usable)
    return f'did you mean "{found[0]}"?' if found and known is None else ""


def _revision(rest: str) -> tuple[str, str | None]:
    found = re.search(r"[:@]", rest)
    return (rest, None) if found is None else (rest[: found.start()], rest[found.end() :])


def _listed(schemes: list[str]) -> str:
    return ", ".join(f"{each}://" for each in schemes[:-1]) + f" or {schemes[-1]}://"
