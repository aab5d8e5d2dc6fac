"""Labels and annotations of our groups that nobody reads: mistyped ones would have no effect, silently.

A key of stoker.dev that does not exist is refused. One of serving.kserve.io is refused where a known one is
near, since it was probably meant; else it is warned about, because a KServe newer than Stoker may know it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping

from stoker.serving import names
from stoker.serving.api import objectives
from stoker.serving.api.metadata import METADATA
from stoker.serving.problems import (
    MOST_HINTS,
    FieldProblem,
    Invalid,
    child,
    forbidden,
    invalid,
    not_supported,
)
from stoker.serving.rendering import storage
from stoker.serving.rendering.storage_credentials import S3_ANNOTATIONS

_OURS, _KSERVE = f"{names.DOMAIN}/", f"{names.GROUP}/"
_NEAR = 0.85
# KServe 0.20's (pkg/constants/constants.go) beside those in api/metadata: written by its own parts, or of
# runtimes. They are kept and mean nothing to Stoker.
_KEPT = frozenset(
    f"{_KSERVE}{name}"
    for name in (
        "inferenceservice",
        "server-type",
        "gpu-resource-types",
        "modelFormat",
        "storageSecretName",
        "storage-initializer-sourceuri",
        "storage-initializer-uid",
        "min-scale",
        "max-scale",
        "localmodel",
        "raw",
        "stop",
        "enable-auth",
    )
)
_OF_BOTH = _KEPT | {row.name for row in METADATA}
_OF_RUNTIMES = _OF_BOTH | {
    names.IMAGE_VARIANTS_ANNOTATION,
    names.REPEATABLE_FLAGS_ANNOTATION,
    names.ARGS_SCHEMA_ANNOTATION,
    storage.FETCHES_ANNOTATION,
}
_OF_INFERENCE_SERVICES = _OF_BOTH | {
    names.PROGRESS_DEADLINE_ANNOTATION,
    storage.READ_ONLY_ANNOTATION,
    storage.SECRET_ANNOTATION,
    *S3_ANNOTATIONS,
    *objectives.ANNOTATIONS,
}


def judge(metadata: Mapping[str, object], known: frozenset[str]) -> tuple[list[FieldProblem], list[str]]:
    """Problems and warnings of an object's metadata; `known`: the keys that mean something."""
    problems: list[FieldProblem] = []
    warned: list[str] = []
    for path, key in _keys(metadata):
        if key in known:
            if key.startswith(_OURS) and path.startswith("metadata.labels"):
                problems.append(forbidden(path, "it is read only as an annotation: write it there"))
            continue
        hint = len(problems) + len(warned) < MOST_HINTS
        near = _nearest(key, known) if hint else None
        if key.startswith(_OURS) or near is not None:
            group = key.partition("/")[0]
            same = [each for each in known if each.startswith(group)]
            problems.append(not_supported(path, key, same, hint=hint))
        else:
            warned.append(f"{path}: nothing reads it; Stoker does not know this key")
    return problems, warned


def of_inference_service(metadata: Mapping[str, object]) -> tuple[list[FieldProblem], list[str]]:
    """Keys on an InferenceService, and values of those that take certain ones."""
    problems, warned = judge(metadata, _OF_INFERENCE_SERVICES)
    return [*problems, *_values(metadata, _WORDS, _NUMBERS), *_objectives(metadata)], warned


def of_pods(annotations: object, path: str) -> Iterator[FieldProblem]:
    """Stoker's own keys among annotations for pods at `path`, where nothing reads them."""
    for key in annotations if isinstance(annotations, dict) else ():
        if isinstance(key, str) and key.startswith(_OURS):
            yield forbidden(child(path, key), "nothing reads it there: write it under metadata.annotations")


def _objectives(metadata: Mapping[str, object]) -> tuple[FieldProblem, ...]:
    given = metadata.get("annotations")
    annotations = given if isinstance(given, dict) else {}
    try:
        objectives.parse_objectives({key: text for key, text in annotations.items() if isinstance(text, str)})
    except Invalid as fault:
        return fault.problems
    return ()


def _values(
    metadata: Mapping[str, object],
    words: Mapping[str, tuple[str, ...]],
    numbers: Mapping[str, tuple[int, int]] = {},
) -> Iterator[FieldProblem]:
    for where in ("labels", "annotations"):
        given = metadata.get(where)
        for key, value in given.items() if isinstance(given, dict) else ():
            if not isinstance(value, str):
                continue
            path = child("metadata", where, str(key))
            if key in words and value not in words[key]:
                yield not_supported(path, value, words[key])
            low, high = numbers.get(key, (0, 0))
            if high and not (value.isascii() and value.isdigit() and low <= int(value[:9]) <= high):
                yield invalid(path, value, f"must be a whole number from {low} to {high}")


_YES_OR_NO = ("0", "1", "False", "True", "false", "no", "off", "on", "true", "yes")
# KServe's words: pkg/constants/constants.go. What is not acted on is refused all the same where it is wrong.
_WORDS: Mapping[str, tuple[str, ...]] = {
    f"{_KSERVE}autoscalerClass": ("external", "hpa", "keda", "none"),
    f"{_KSERVE}deploymentMode": ("Knative", "ModelMesh", "RawDeployment", "Serverless", "Standard"),
    f"{_KSERVE}metric": ("concurrency", "cpu", "memory", "rps"),
    names.STOP_ANNOTATION: ("false", "true"),
    storage.READ_ONLY_ANNOTATION: ("false", "true"),
    # What the downloader reads as yes or no; of anything else it would take the default.
    f"{_KSERVE}s3-useanoncredential": _YES_OR_NO,
    f"{_KSERVE}s3-usehttps": _YES_OR_NO,
    f"{_KSERVE}s3-usevirtualbucket": _YES_OR_NO,
    f"{_KSERVE}s3-verifyssl": _YES_OR_NO,
}
_WORDS_OF_RUNTIMES: Mapping[str, tuple[str, ...]] = {
    names.IMAGE_VARIANTS_ANNOTATION: ("false", "true"),
    storage.FETCHES_ANNOTATION: ("false", "true"),
}
_NUMBERS: Mapping[str, tuple[int, int]] = {
    f"{_KSERVE}targetUtilizationPercentage": (1, 100),
    names.PROGRESS_DEADLINE_ANNOTATION: (1, 604_800),  # as the controller reads it: a week
}


def of_runtime(metadata: Mapping[str, object]) -> tuple[list[FieldProblem], list[str]]:
    """Keys on a runtime, and values of those that only one word turns on."""
    problems, warned = judge(metadata, _OF_RUNTIMES)
    return [*problems, *_values(metadata, _WORDS_OF_RUNTIMES)], warned


def _keys(metadata: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for where in ("labels", "annotations"):
        given = metadata.get(where)
        for key in given if isinstance(given, dict) else ():
            if isinstance(key, str) and key.startswith((_OURS, _KSERVE)):
                yield child("metadata", where, key), key


def _nearest(key: str, known: Iterable[str]) -> str | None:
    group, _, word = key.partition("/")
    words = {each.partition("/")[2].lower(): each for each in known if each.startswith(f"{group}/")}
    found = difflib.get_close_matches(word.lower(), words, n=1, cutoff=_NEAR)
    return words[found[0]] if found else None
