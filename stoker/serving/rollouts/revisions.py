"""Revisions: what was rendered, kept, so that it never has to be rendered again.

A revision is a ControllerRevision `{isvc}-predictor-00001` that stores the pod template as it was rendered
when the revision was made, and the inputs it was rendered from. As long as an InferenceService's inputs are
those of a stored revision, that template is what runs: editing unrelated metadata, the runtime or Stoker's
own code rolls nothing. Inputs seen before find their old revision again; numbers only grow.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from stoker.serving import names
from stoker.serving.api.objects import ServingRuntime
from stoker.serving.api.reading import Object

HISTORY = 10  # revisions kept beside those in use: what a `kubectl apply` of an older file can go back to

_NUMBER = re.compile(r"-predictor-(\d{5,})$")


@dataclass(frozen=True)
class RuntimeReference:
    """Which runtime a revision was rendered from: pinned, another one is taken only by a new revision."""

    kind: str
    name: str

    @classmethod
    def to(cls, runtime: ServingRuntime) -> RuntimeReference:
        """The reference to a runtime."""
        kind = names.CLUSTER_RUNTIME_KIND if runtime.scope == "cluster" else names.RUNTIME_KIND
        return cls(kind, runtime.name)


@dataclass(frozen=True)
class Revision:
    """One stored revision."""

    name: str
    number: int
    inputs: Object  # what was rendered: render.Rendered.inputs
    template: Object  # PodTemplateSpec, applied verbatim for ever
    runtime: RuntimeReference | None  # None: containers of the user's own
    uid: str = ""  # of the stored ControllerRevision; "" while there is none


def revision_name(isvc_name: str, number: int) -> str:
    """`{isvc}-predictor-00001`: also the name of the revision's Deployment."""
    return f"{names.service_name(isvc_name)}-{number:05d}"


def revision_number(name: str) -> int | None:
    """The number in a revision's name; None for another name."""
    found = _NUMBER.search(name)
    return int(found.group(1)) if found else None


def inputs_hash(inputs: Object) -> str:
    """A short name for inputs: the same for the same JSON, whatever the order of its keys."""
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_revision(
    isvc_name: str, number: int, *, template: Object, inputs: Object, runtime: RuntimeReference | None
) -> Revision:
    """A new revision; its template's labels now name the InferenceService and the revision."""
    name = revision_name(isvc_name, number)
    metadata = template.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), **names.labels(isvc_name, name)}
    return Revision(name, number, inputs, {**template, "metadata": {**metadata, "labels": labels}}, runtime)


def parse_revision(obj: Object) -> Revision | None:
    """The revision that a ControllerRevision stores; None where it is none of ours."""
    metadata: Any = obj.get("metadata") or {}
    data: Any = obj.get("data")
    number = obj.get("revision")
    if not isinstance(data, dict) or not isinstance(number, int):
        return None
    template, inputs = data.get("template"), data.get("inputs")
    if not isinstance(template, dict) or not isinstance(inputs, dict):
        return None
    pinned = data.get("runtime")
    runtime = RuntimeReference(pinned["kind"], pinned["name"]) if isinstance(pinned, dict) else None
    return Revision(metadata["name"], number, inputs, template, runtime, metadata.get("uid") or "")


def choose_revision(
    revisions: Iterable[Revision],
    inputs_now: Callable[[Object], Object],
    restated: Callable[[Object], Object] = lambda stored: stored,
) -> Revision | None:
    """The newest stored revision with today's inputs; None where they are new.

    `inputs_now(stored)` gives the InferenceService's inputs now, with values for the labels and annotations
    that the stored ones used. No runtime is asked: it may have been edited or deleted since.
    `restated(stored)` gives the stored inputs as they would be stored today: another release may leave
    out a field, or write a value in another way, and that must roll nothing.
    """
    newest_first = sorted(revisions, key=lambda revision: -revision.number)
    return next((each for each in newest_first if inputs_now(each.inputs) == restated(each.inputs)), None)


def next_number(revisions: Iterable[Revision], names_in_use: Iterable[str]) -> int:
    """One more than every number seen: in stored revisions, and in the names of what was made from them."""
    numbers = [revision.number for revision in revisions]
    numbers += [number for name in names_in_use if (number := revision_number(name)) is not None]
    return max(numbers, default=0) + 1


def to_prune(revisions: Sequence[Revision], in_use: Iterable[str], history: int = HISTORY) -> list[Revision]:
    """Revisions that may go: neither in use nor among the newest `history` of the others. Oldest first."""
    kept = set(in_use)
    unused = sorted((each for each in revisions if each.name not in kept), key=lambda each: each.number)
    return unused[: max(0, len(unused) - history)]
