"""InferenceService and runtime as typed, frozen objects, parsed once where they enter.

Pod-shaped parts (containers, volumes, ...) stay plain JSON: they are Kubernetes' own and pass through.
Field names and defaults are KServe's v1beta1 InferenceService and v1alpha1 (Cluster)ServingRuntime.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from stoker.serving import names
from stoker.serving.api import shapes
from stoker.serving.api.reading import Object, Reader
from stoker.serving.problems import FieldProblem, Invalid, child, invalid, required

MAX_REPLICAS = 1000
MAX_TIMEOUT = 86_400
PROTOCOLS = ("v1", "v2", "grpc-v1", "grpc-v2")
# Fields of KServe's first API that name a format by themselves: `predictor.huggingface: {...}`.
LEGACY_FORMATS = (
    "huggingface",
    "lightgbm",
    "onnx",
    "paddle",
    "pmml",
    "pytorch",
    "sklearn",
    "tensorflow",
    "triton",
    "xgboost",
)
# KServe's defaulter gives these the second protocol where none is named; all others speak the first.
_SECOND_PROTOCOL_LEGACY = frozenset({"huggingface", "onnx", "triton"})
_SECOND_PROTOCOL_FORMATS = frozenset({"triton", "vLLM"})

MODEL_FIELDS = frozenset(
    {"modelFormat", "runtime", "runtimeVersion", "protocolVersion", "storageUri", "storage", "confidential"}
)
# ComponentExtensionSpec: how many pods, how traffic reaches them. Nothing here shapes a pod but the last two.
EXTENSION_FIELDS = frozenset(
    {
        "minReplicas",
        "maxReplicas",
        "scaleTarget",
        "scaleMetric",
        "scaleMetricType",
        "autoScaling",
        "containerConcurrency",
        "timeout",
        "canaryTrafficPercent",
        "logger",
        "batcher",
        "deploymentStrategy",
        "labels",
        "annotations",
    }
)
PREDICTOR_FIELDS = frozenset(
    {"model", "name", "storageUris", "storageContainerName", "workerSpec", *LEGACY_FORMATS}
)


@dataclass(frozen=True)
class ModelFormat:
    """What kind of model it is; a runtime must support name and, where given, exactly this version."""

    name: str
    version: str | None = None

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name} (version {self.version})"


@dataclass(frozen=True)
class Model:
    """`predictor.model`, or a legacy field that means the same."""

    format: ModelFormat
    path: str  # where it stands in the InferenceService: spec.predictor.model
    runtime: str | None = None
    runtime_version: str | None = None
    protocol: str = "v1"
    storage_uri: str | None = None
    storage: Object | None = None
    container: Object = field(default_factory=dict)  # the container fields written beside modelFormat


@dataclass(frozen=True)
class Predictor:
    """`spec.predictor`."""

    model: Model | None
    containers: tuple[Object, ...]
    pod_spec: Object  # the PodSpec fields other than containers
    min_replicas: int
    max_replicas: int | None
    timeout: int | None  # seconds
    canary_traffic_percent: int | None
    deployment_strategy: Object | None
    labels: dict[str, str]
    annotations: dict[str, str]
    raw: Object  # spec.predictor as it was written


@dataclass(frozen=True)
class InferenceService:
    """What a user asked for."""

    name: str
    namespace: str
    uid: str
    generation: int
    labels: dict[str, str]
    annotations: dict[str, str]
    deleting: bool
    predictor: Predictor
    other_parts: tuple[str, ...] = ()  # of transformer, explainer and canary, those that are set


@dataclass(frozen=True)
class SupportedFormat:
    """An entry of a runtime's `supportedModelFormats`. `auto_select`: also where no runtime is named."""

    name: str
    version: str | None = None
    auto_select: bool = False
    priority: int | None = None


@dataclass(frozen=True)
class ServingRuntime:
    """A template for predictor pods, of one namespace or of the cluster."""

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


def parse_inference_service(obj: Object) -> InferenceService:
    """The typed InferenceService; Invalid with every problem of type and shape."""
    isvc, problems = read_inference_service(obj)
    if problems:
        raise Invalid(*problems)
    return isvc


def read_inference_service(obj: Any) -> tuple[InferenceService, list[FieldProblem]]:
    """As much as can be read, and what cannot: validation goes on with the rest to report all at once."""
    problems: list[FieldProblem] = []
    top = Reader(obj, "", problems)
    metadata = top.inner("metadata")
    spec = top.inner("spec")
    if not spec.has("predictor"):
        problems.append(required("spec.predictor", "what to serve: a model, or containers of your own"))
    isvc = InferenceService(
        name=metadata.text("name", need="a name") or "",
        namespace=metadata.text("namespace") or "default",
        uid=metadata.text("uid") or "",
        generation=metadata.integer("generation", low=0, high=2**63) or 0,
        labels=metadata.words("labels"),
        annotations=metadata.words("annotations"),
        deleting=metadata.has("deletionTimestamp"),
        predictor=_predictor(spec.inner("predictor")),
        other_parts=tuple(name for name in ("transformer", "explainer", "canary") if spec.value.get(name)),
    )
    return isvc, problems


def _predictor(spec: Reader) -> Predictor:
    containers = spec.objects("containers")
    model = _model(spec, containers)
    pod_spec = shapes.pod_fields(spec)
    shapes.check_pod(pod_spec, spec.path, spec.problems)
    for number, container in enumerate(containers):
        shapes.check_container(container, child(spec.path, "containers", number), spec.problems)
    minimum = spec.integer("minReplicas", low=0, high=MAX_REPLICAS)
    return Predictor(
        model=model,
        containers=containers,
        pod_spec=pod_spec,
        min_replicas=1 if minimum is None else minimum,
        max_replicas=spec.integer("maxReplicas", low=0, high=MAX_REPLICAS),
        timeout=spec.integer("timeout", low=0, high=MAX_TIMEOUT),
        canary_traffic_percent=spec.integer("canaryTrafficPercent", low=0, high=100),
        deployment_strategy=spec.object("deploymentStrategy"),
        labels=spec.words("labels"),
        annotations=spec.words("annotations"),
        raw=dict(spec.value),
    )


def _model(spec: Reader, containers: tuple[Object, ...]) -> Model | None:
    kinds = [name for name in ("model", *LEGACY_FORMATS) if spec.has(name)]
    own = any(container.get("name") == names.MODEL_CONTAINER for container in containers)
    if len(kinds) > 1 or (kinds and own):
        found = kinds + ([names.MODEL_CONTAINER] if own else [])
        detail = "must have one of model, the legacy frameworks and a container called kserve-container"
        spec.problems.append(invalid(spec.path, found, detail))
    if not kinds:
        if not containers and spec.value:
            spec.problems.append(
                required(spec.at("model"), "what to serve: a model, or containers of your own")
            )
        return None
    reader = spec.inner(kinds[0])
    if kinds[0] == "model":
        form = reader.inner("modelFormat")
        name = form.text("name", need='the format of the model, for example "huggingface"') or ""
        model_format = ModelFormat(name, form.text("version") or None)
        second = name in _SECOND_PROTOCOL_FORMATS
    else:
        model_format = ModelFormat(kinds[0])
        second = kinds[0] in _SECOND_PROTOCOL_LEGACY
    container = {
        name: value for name, value in reader.value.items() if name not in MODEL_FIELDS and value is not None
    }
    shapes.check_container(container, reader.path, spec.problems)
    return Model(
        format=model_format,
        path=reader.path,
        runtime=reader.text("runtime") or None,
        runtime_version=reader.text("runtimeVersion") or None,
        protocol=reader.text("protocolVersion") or ("v2" if second else "v1"),
        storage_uri=reader.text("storageUri") or None,
        storage=reader.object("storage"),
        container=container,
    )


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
