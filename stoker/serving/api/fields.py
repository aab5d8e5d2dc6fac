"""Every field of KServe's InferenceService that a predictor can carry, and what Stoker does with it.

One table: admission refuses and warns by it, rendering refuses by it where nobody was asked before, and
docs/kserve-fields.md is written from it. A field in none of its rows is unknown; none is ignored in silence.
Names are those of KServe 0.20 (pkg/apis/serving/v1beta1) and of Kubernetes 1.37's PodSpec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stoker.serving.api.shapes import CONTAINER_FIELDS, POD_FIELDS
from stoker.serving.names import MODEL_CONTAINER
from stoker.serving.problems import child

Fate = Literal["supported", "refused", "warned"]


@dataclass(frozen=True)
class Field:
    """One field. `note` says what comes of it or, where it is refused or warned about, what to do instead.

    `only` says in words which values are refused or warned about; `concerns(value, object around)` decides.
    """

    name: str
    fate: Fate = "supported"
    note: str = ""
    only: str = ""
    concerns: Callable[[Any, Mapping[str, Any]], bool] = lambda value, _: bool(value)


SCALING = "has no effect yet: minReplicas is the number of pods"


def _above_minimum(value: Any, predictor: Mapping[str, Any]) -> bool:
    least = predictor.get("minReplicas")
    numbers = (value, 1 if least is None else least)
    return all(isinstance(each, int) for each in numbers) and numbers[0] > max(1, numbers[1])


def _table(*rows: Field, others: Iterable[str] = ()) -> Mapping[str, Field]:
    named = {row.name: row for row in rows}
    return {name: named.get(name) or Field(name) for name in sorted({*named, *others})}


SPEC = _table(
    Field("predictor"),
    Field(
        "transformer",
        "refused",
        "Stoker does not run transformers; let a container of the predictor do its work",
    ),
    Field("explainer", "refused", "Stoker does not run explainers"),
    Field(
        "canary",
        "refused",
        "use spec.predictor.canaryTrafficPercent: it sends a share of requests to the newest revision",
    ),
)

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

MODEL = _table(
    Field("modelFormat", note="selects the runtime where none is named"),
    Field("runtime", note="a ServingRuntime of the namespace, else a ClusterServingRuntime"),
    Field("runtimeVersion", note="tag of the image; an image named by digest stays"),
    Field("protocolVersion", note="a runtime must list it, where it lists any"),
    Field("storageUri", note="hf://, s3:// or pvc://: see docs/storage.md; other schemes are refused"),
    Field("storage", "refused", "use storageUri; credentials come from env or a Secret"),
    Field("confidential", "refused", "Stoker does not run confidential models"),
)

PREDICTOR = _table(
    Field("model", note="what to serve, and fields of a container merged over the runtime's"),
    Field(
        "containers",
        note="with model: further containers; without: the one called kserve-container serves. "
        "A transformer-container in front of it is refused",
    ),
    Field("name", "refused", "it distinguishes the entries of spec.canary, which Stoker does not have"),
    Field("storageUris", "refused", "one model is served; name it by model.storageUri or in args"),
    Field("storageContainerName", "warned", "has no effect: Stoker brings its own downloader"),
    Field("workerSpec", "refused", "a predictor's pods do not span several nodes yet"),
    *(
        Field(name, note="the same as model with this format; needs a runtime that supports it")
        for name in LEGACY_FORMATS
    ),
)

# ComponentExtensionSpec: how many pods, how traffic reaches them. Only labels and annotations shape a pod.
EXTENSION = _table(
    Field(
        "minReplicas",
        "warned",
        "one pod is run: nothing wakes a model from zero yet; to run none, "
        "set the annotation serving.kserve.io/stop",
        only="0",
        concerns=lambda value, _: value == 0 and value is not False,
    ),
    Field("maxReplicas", "warned", SCALING, only="more than minReplicas", concerns=_above_minimum),
    *(
        Field(name, "warned", SCALING)
        for name in ("autoScaling", "scaleMetric", "scaleMetricType", "scaleTarget")
    ),
    Field("containerConcurrency", "warned", "has no effect: the runtime bounds its own queue"),
    Field("timeout", note="seconds until the gateway gives up on an answer; without it, never"),
    Field("canaryTrafficPercent", note="weights hold at the gateway"),
    Field("logger", "warned", "has no effect: Stoker does not log requests and answers"),
    Field("batcher", "warned", "has no effect: the runtime batches by itself"),
    Field("deploymentStrategy", note="RollingUpdate with its two numbers, or Recreate"),
    Field("labels", note="of the pods"),
    Field("annotations", note="of the pods"),
)

POD = _table(
    Field("activeDeadlineSeconds", "refused", "a Deployment's pods have none"),
    Field("ephemeralContainers", "refused", "they are added to running pods, never to a template"),
    Field(
        "restartPolicy",
        "refused",
        "must be Always: a Deployment starts its pods again",
        only="anything but Always",
        concerns=lambda value, _: value not in ("Always", ""),
    ),
    Field("priority", "refused", "name a priorityClassName: Kubernetes computes the number from it"),
    Field("overhead", "refused", "name a runtimeClassName: Kubernetes takes the number from it"),
    Field("schedulingGates", "warned", "pods wait until something removes the gates; Stoker does not"),
    Field("nodeName", "warned", "goes past the scheduler, which knows what is free; prefer nodeSelector"),
    Field("resources", note="of the whole pod; Kubernetes 1.34 and later"),
    Field("volumes", note="merged by name"),
    Field("initContainers", note="merged by name"),
    Field("tolerations", note="replace the runtime's"),
    Field("nodeSelector", note="merged key by key"),
    Field("affinity", note="merged field by field"),
    Field("automountServiceAccountToken", note="false unless set, or where serviceAccountName is set"),
    Field("enableServiceLinks", note="false unless set"),
    Field("terminationGracePeriodSeconds", note="computed from the drain times unless set"),
    *(
        Field(name, note="in a namespace with the label stoker.dev/security: trusted, else refused")
        for name in ("hostIPC", "hostNetwork", "hostPID")
    ),
    others=POD_FIELDS,
)

CONTAINER = _table(
    Field("args", note="merged flag by flag with the runtime's"),
    Field("command", note="replaces the runtime's"),
    Field("env", note="merged by name"),
    Field("image", note="replaces the runtime's"),
    Field(
        "name",
        "warned",
        "the container that serves is always called kserve-container",
        only="in model: anything but kserve-container",
        concerns=lambda value, model: "modelFormat" in model and value not in ("", MODEL_CONTAINER),
    ),
    Field("ports", note="merged by number and protocol"),
    Field("resources", note="merged key by key; a runtime's limit below a user's request is raised to it"),
    Field("volumeMounts", note="merged by mountPath"),
    others=CONTAINER_FIELDS,
)

MODEL_FIELDS = frozenset(MODEL)
EXTENSION_FIELDS = frozenset(EXTENSION)
PREDICTOR_FIELDS = frozenset(PREDICTOR) - {"containers"}


def judged(spec: Mapping[str, Any]) -> Iterator[tuple[str, Field]]:
    """Path and row of every field set in an InferenceService's `spec` that is refused or warned about."""
    yield from _concerning(spec, "spec", _SPEC)
    predictor = spec.get("predictor")
    if not isinstance(predictor, dict):
        return
    yield from _concerning(predictor, "spec.predictor", _PREDICTOR)
    for name in ("model", *LEGACY_FORMATS):
        model = predictor.get(name)
        if isinstance(model, dict):
            path = child("spec.predictor", name)
            yield from _concerning(model, path, _MODEL)


def _told_of(*tables: Mapping[str, Field]) -> Mapping[str, Field]:
    return {row.name: row for table in tables for row in table.values() if row.fate != "supported"}


_SPEC, _PREDICTOR, _MODEL = _told_of(SPEC), _told_of(PREDICTOR, EXTENSION, POD), _told_of(MODEL, CONTAINER)


def _concerning(obj: Mapping[str, Any], path: str, rows: Mapping[str, Field]) -> Iterator[tuple[str, Field]]:
    if rows.keys().isdisjoint(obj):
        return
    for name, row in rows.items():
        value = obj.get(name)
        if value is not None and row.concerns(value, obj):
            yield child(path, name), row
