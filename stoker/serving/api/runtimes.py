"""ServingRuntime and ClusterServingRuntime as typed, frozen objects, parsed once where they enter.

Names and defaults are those of KServe's v1alpha1 (Cluster)ServingRuntime; more of the PodSpec is read than
KServe has there (init containers, security context, ...).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from stoker.serving import names
from stoker.serving.api import shapes
from stoker.serving.api.reading import Object, Reader
from stoker.serving.problems import FieldProblem, Invalid, child

PROTOCOLS = ("v1", "v2", "grpc-v1", "grpc-v2")


@dataclass(frozen=True)
class SupportedFormat:
    """An entry of a runtime's `supportedModelFormats`. `auto_select`: also where no runtime is named."""

    name: str
    version: str | None = None
    auto_select: bool = False
    priority: int | None = None


@dataclass(frozen=True, eq=False)
class ServingRuntime:
    """A template for predictor pods, of one namespace or of the cluster.

    Equal only to itself, so that what was found out about it once can be kept by it.
    """

    scope: Literal["namespaced", "cluster"]
    name: str
    namespace: str  # "" for the cluster's
    formats: tuple[SupportedFormat, ...]
    containers: tuple[Object, ...]
    pod_spec: Object  # the other PodSpec fields
    disabled: bool = False
    multi_model: bool = False
    multi_node: bool = False
    protocol_versions: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)  # of the runtime itself
    annotations: dict[str, str] = field(default_factory=dict)
    pod_labels: dict[str, str] = field(default_factory=dict)  # for the pods made from it
    pod_annotations: dict[str, str] = field(default_factory=dict)
    creation_timestamp: str = ""


def parse_runtime(obj: Object) -> ServingRuntime:
    """The typed ServingRuntime or ClusterServingRuntime, by its kind; Invalid with every problem."""
    runtime, problems = read_runtime(obj)
    if problems:
        raise Invalid(*problems)
    return runtime


def read_runtime(obj: Any) -> tuple[ServingRuntime, list[FieldProblem]]:
    """As much as can be read, and what cannot."""
    problems: list[FieldProblem] = []
    top = Reader(obj, "", problems)
    metadata = top.inner("metadata")
    spec = top.inner("spec")
    cluster = top.text("kind") == names.CLUSTER_RUNTIME_KIND
    containers = spec.objects("containers")
    pod_spec = shapes.pod_fields(spec)
    shapes.check_pod(pod_spec, spec.path, problems)
    for number, container in enumerate(containers):
        shapes.check_container(container, child(spec.path, "containers", number), problems)
    runtime = ServingRuntime(
        scope="cluster" if cluster else "namespaced",
        name=metadata.text("name", need="a name") or "",
        namespace="" if cluster else metadata.text("namespace") or "default",
        formats=_formats(spec),
        containers=containers,
        pod_spec=pod_spec,
        disabled=spec.flag("disabled"),
        multi_model=spec.flag("multiModel"),
        multi_node=spec.has("workerSpec"),
        protocol_versions=spec.strings("protocolVersions"),
        labels=metadata.words("labels"),
        annotations=metadata.words("annotations"),
        pod_labels=spec.words("labels"),
        pod_annotations=spec.words("annotations"),
        creation_timestamp=metadata.text("creationTimestamp") or "",
    )
    return runtime, problems


def _formats(spec: Reader) -> tuple[SupportedFormat, ...]:
    made = []
    for number, entry in enumerate(spec.objects("supportedModelFormats")):
        reader = Reader(entry, child(spec.path, "supportedModelFormats", number), spec.problems)
        made.append(
            SupportedFormat(
                name=reader.text("name", need="the name of a model format") or "",
                version=reader.text("version") or None,
                auto_select=reader.flag("autoSelect"),
                priority=reader.integer("priority", low=1, high=2**31 - 1),
            )
        )
    return tuple(made)
