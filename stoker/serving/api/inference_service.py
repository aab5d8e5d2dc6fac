"""InferenceService as a typed, frozen object, parsed once where it enters.

Pod-shaped parts (containers, volumes, ...) stay plain JSON: they are Kubernetes' own and pass through.
Names and defaults are those of KServe's v1beta1 InferenceService.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stoker.serving import names
from stoker.serving.api import shapes
from stoker.serving.api.fields import LEGACY_FORMATS, MODEL_FIELDS
from stoker.serving.api.reading import Object, Reader
from stoker.serving.problems import FieldProblem, Invalid, child, invalid, required

MAX_REPLICAS = 1000
MAX_TIMEOUT = 86_400
# KServe's defaulter gives these the second protocol where none is named; all others speak the first.
_SECOND_PROTOCOL_LEGACY = frozenset({"huggingface", "onnx", "triton"})
_SECOND_PROTOCOL_FORMATS = frozenset({"triton", "vLLM"})


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
    raw: Object = field(default_factory=dict)  # spec as it was written


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
        raw=dict(spec.value),
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
