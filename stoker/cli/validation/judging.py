"""The verdict on each document: the CRD's schema, then the webhook's rules, with the runtimes at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stoker.cli.validation.cluster import Surroundings
from stoker.cli.validation.documents import Document
from stoker.cli.validation.schema import Schemas
from stoker.serving import names
from stoker.serving.admission.validate import Verdict, validate_inference_service, validate_runtime
from stoker.serving.api.objects import ServingRuntime, read_runtime
from stoker.serving.problems import FieldProblem, not_supported
from stoker.serving.settings import Settings

Object = dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """A document and what is said of it; `verdict` is None where the object is none of Stoker's."""

    document: Document
    verdict: Verdict | None


def is_of_stoker(value: Object) -> bool:
    """Whether the object is of the group that Stoker serves."""
    version = value.get("apiVersion")
    return isinstance(version, str) and version.split("/")[0] == names.GROUP


class Judge:
    """Judges documents as a cluster would that has these runtimes, and the documents' own."""

    def __init__(
        self,
        surroundings: Surroundings,
        settings: Settings,
        args_schemas: Mapping[str, Object],
        *,
        namespace: str = "default",
    ) -> None:
        """`namespace`: of objects that name none."""
        self._surroundings = surroundings
        self._settings = settings
        self._args_schemas = args_schemas
        self._namespace = namespace
        self._runtimes = _runtimes(surroundings.runtimes)
        self._schemas = Schemas()
        self._labels: Mapping[str, Mapping[str, str]] = {}

    def judge(self, documents: Sequence[Document]) -> list[Judged]:
        """All of them, in order. Runtimes and Namespaces among them count for the others."""
        placed = [self._placed(each.value) for each in documents]
        self._labels = {**self._surroundings.namespace_labels, **_namespaces(placed)}
        runtimes = list({**self._runtimes, **_runtimes(placed)}.values())
        return [
            Judged(document, self._verdict(document, value, runtimes) if is_of_stoker(value) else None)
            for document, value in zip(documents, placed, strict=True)
        ]

    def _placed(self, value: Object) -> Object:
        metadata = value.get("metadata")
        if value.get("kind") == names.CLUSTER_RUNTIME_KIND or not isinstance(metadata, dict):
            return value
        return value | {"metadata": {"namespace": self._namespace} | metadata}

    def _verdict(self, document: Document, value: Object, runtimes: Sequence[ServingRuntime]) -> Verdict:
        kind = value.get("kind")
        if (value["apiVersion"], kind) not in self._schemas.kinds:
            return Verdict((_no_such_kind(value, self._schemas),))
        of_schema = self._schemas.check(value)
        verdict = self._by_the_rules(value, runtimes)
        # Both find, for example, unknown fields. The rules say more of what to do instead.
        said = {problem.field for problem in verdict.problems}
        twice = {_entry(each.field) for each in verdict.problems if each.reason == "FieldValueDuplicate"}
        more = [
            problem
            for problem in of_schema
            if problem.field not in said
            # The rules tell of an entry that is there twice at its key, the schema at the entry.
            and not (problem.reason == "FieldValueDuplicate" and problem.field in twice)
        ]
        found = [*document.problems, *verdict.problems, *more]
        found.sort(key=lambda problem: document.line(problem.field))
        return Verdict(tuple(found), verdict.warnings)

    def _by_the_rules(self, value: Object, runtimes: Sequence[ServingRuntime]) -> Verdict:
        metadata = value.get("metadata")
        namespace = metadata.get("namespace") if isinstance(metadata, Mapping) else None
        labels = self._labels.get(namespace or "", {})
        if value["kind"] == names.INFERENCE_SERVICE_KIND:
            return validate_inference_service(
                value,
                None,
                runtimes,
                self._settings,
                args_schemas=self._args_schemas,
                largest_devices=self._surroundings.largest_devices,
                namespace_labels=labels,
            )
        return validate_runtime(
            value,
            None,
            settings=self._settings,
            args_schemas=self._args_schemas,
            namespace_labels=labels,
            others=runtimes,
        )


def _entry(path: str) -> str:
    """The entry of a list in which a field stands."""
    return path[: path.rindex("]") + 1] if "]" in path else path


def _no_such_kind(value: Object, schemas: Schemas) -> FieldProblem:
    kinds = sorted({kind for _, kind in schemas.kinds})
    if value.get("kind") not in kinds:
        return not_supported("kind", value.get("kind"), kinds)
    versions = [version for version, kind in schemas.kinds if kind == value.get("kind")]
    return not_supported("apiVersion", value["apiVersion"], versions)


def _namespaces(objects: Sequence[Object]) -> dict[str, Mapping[str, str]]:
    """Labels of the Namespaces among the documents: they choose the policy for what is in them."""
    found = {}
    for each in objects:
        metadata = each.get("metadata")
        if each.get("kind") == "Namespace" and isinstance(metadata, Mapping):
            labels = metadata.get("labels")
            found[str(metadata.get("name"))] = labels if isinstance(labels, Mapping) else {}
    return found


def _runtimes(objects: Sequence[Object]) -> dict[tuple[str, str], ServingRuntime]:
    """The readable runtimes; of several with one name the last, which would overwrite the others."""
    kinds = (names.RUNTIME_KIND, names.CLUSTER_RUNTIME_KIND)
    found: dict[tuple[str, str], ServingRuntime] = {}
    for each in objects:
        if each.get("kind") in kinds and is_of_stoker(each):
            runtime, problems = read_runtime(each)
            if not problems:
                found[runtime.namespace, runtime.name] = runtime
    return found
