"""Names, hosts, the labels that are Stoker's, and how many pods."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stoker.serving import names
from stoker.serving.api.objects import InferenceService
from stoker.serving.problems import FieldProblem, child, invalid
from stoker.serving.settings import Settings

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def check_name(isvc: InferenceService, settings: Settings) -> Iterator[FieldProblem]:
    """The name as it stands in hosts, labels, Services and revisions."""
    if not isvc.name:
        return
    path = "metadata.name"
    if not _NAME.fullmatch(isvc.name):
        detail = (
            "must be lower case letters, digits and '-', begin with a letter and end with a letter or digit"
        )
        yield invalid(path, isvc.name, detail)
    if len(isvc.name) > names.MAX_NAME_LENGTH:
        detail = f"must be at most {names.MAX_NAME_LENGTH} characters: its revisions are NAME-predictor-00001"
        yield invalid(path, isvc.name, detail)
    host = names.host(isvc.name, isvc.namespace, settings)
    long = [label for label in host.split(".") if len(label) > names.MAX_LABEL_LENGTH]
    if long:
        detail = (
            f"makes the host {host}, of which {long[0]} has more than {names.MAX_LABEL_LENGTH} characters"
        )
        yield invalid(path, isvc.name, detail)
    if len(host) > names.MAX_HOST_LENGTH:
        yield invalid(
            path, isvc.name, f"makes the host {host}, longer than {names.MAX_HOST_LENGTH} characters"
        )


def check_labels(isvc: InferenceService) -> Iterator[FieldProblem]:
    """Labels by which Stoker finds its pods."""
    reserved = {*names.labels(""), names.REVISION_LABEL}
    for key in sorted(isvc.predictor.labels.keys() & reserved):
        yield invalid(
            child("spec.predictor.labels", key), isvc.predictor.labels[key], "is set by Stoker itself"
        )
