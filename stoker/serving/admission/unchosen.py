"""What can be said of an InferenceService where nobody knows which runtime it will have.

What is missing, or named and not there, may be the runtime's. The rest is as wrong with any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stoker.serving import names
from stoker.serving.admission import given_flags, pods
from stoker.serving.admission.places import told_once
from stoker.serving.admission.sources import check_sources
from stoker.serving.api.objects import InferenceService, ServingRuntime
from stoker.serving.api.reading import Object
from stoker.serving.problems import FieldProblem, child
from stoker.serving.rendering import checks
from stoker.serving.settings import Settings

_RUNTIMES_OWN = ("FieldValueRequired", "FieldValueNotFound")


def check(
    isvc: InferenceService,
    runtimes: Sequence[ServingRuntime],
    settings: Settings,
    args_schemas: Mapping[str, Object],
) -> list[FieldProblem]:
    """Problems of the model's source, of resources, and of pod and flags, unless a runtime may come."""
    model = isvc.predictor.model
    arguments = [str(each) for each in (model.container.get("args") or [] if model else [])]
    found = list(check_sources(isvc, None, arguments, settings))
    for container, path in _containers(isvc):
        found += checks.check_resources(container, child(path, "resources"))
    if settings.missing_runtime != "warn":
        found += told_once(pods.before_merging(isvc), found)
        anyone = _stands_for_all(isvc, runtimes)
        schema = given_flags.schema_of(isvc, anyone, args_schemas, [])
        found += given_flags.check(isvc, anyone, arguments, schema)
    return [each for each in found if each.reason not in _RUNTIMES_OWN]


def _containers(isvc: InferenceService) -> Iterator[tuple[Object, str]]:
    if isvc.predictor.model is not None:
        yield isvc.predictor.model.container, isvc.predictor.model.path
    for kind in ("containers", "initContainers"):
        for number, container in enumerate(isvc.predictor.raw.get(kind) or []):
            yield container, child("spec.predictor", kind, number)


def _stands_for_all(isvc: InferenceService, runtimes: Sequence[ServingRuntime]) -> ServingRuntime | None:
    """One of the runtimes that could be meant, where the flags of all have one schema."""
    usable = [
        each
        for each in runtimes
        if not each.disabled and (each.scope == "cluster" or each.namespace == isvc.namespace)
    ]
    schemas = {each.annotations.get(names.ARGS_SCHEMA_ANNOTATION) for each in usable}
    return usable[0] if len(schemas) == 1 else None
