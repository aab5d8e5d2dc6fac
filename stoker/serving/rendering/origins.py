"""Where every value of a rendered pod comes from: for people who ask why their pod looks as it does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stoker.serving import names
from stoker.serving.api.objects import InferenceService, ServingRuntime
from stoker.serving.api.reading import Object
from stoker.serving.rendering.leaves import leaves
from stoker.serving.rendering.placeholders import Values, replace
from stoker.serving.rendering.render import Rendered, merged_template

_ABSENT = object()


@dataclass(frozen=True)
class Origin:
    """One value of the pod template at `path`; `source` in words: whose it is, or which default and why."""

    path: str
    value: Any
    source: str


# Where nobody wrote it. The first pattern that is found in the path counts.
_DEFAULTS = (
    (r"^metadata\.labels", "Stoker's: Services and tools select pods by it"),
    (r"default-container\]?$", "Stoker's: the container that kubectl logs shows"),
    (
        r"\.args\[--storage_uri\]|storage-initializer|kserve-provision|kserve-pvc|model-folder",
        "for storageUri",
    ),
    (r"volumeMounts\[/mnt/models\]", "for storageUri"),
    (r"\.args\[--(lame_duck|drain)_seconds\]", "the settings' drain times"),
    (r"\.image$", "the build for the devices in the limits (setting image_variants)"),
    (
        r"\.lifecycle\.preStop",
        "default: proxies need this long to hear of the end (setting pre_stop_seconds)",
    ),
    (r"\.startupProbe\.failureThreshold", "default: as long as a model may load (setting startup_deadline)"),
    (r"\.startupProbe", "default: the liveness probe must not end a container that loads its model"),
    (r"\.readinessProbe", "default, as in KServe: the port accepts connections"),
    (
        r"shm\]|\[/dev/shm\]",
        "default: engines exchange tensors there; half of the memory limit, else shared_memory",
    ),
    (r"env\[INFERENCE_SERVICE_NAME\]", "default, as in KServe"),
    (r"\.env\[", "for storageUri, by the InferenceService's annotations"),
    (r"terminationMessagePolicy", "default: the status says why a container died"),
    (r"securityContext", "default: Pod Security"),
    (r"enableServiceLinks", "default: a Service's variables can change what a server does"),
    (r"automountServiceAccountToken", "default: a model server does not ask the API server"),
    (r"terminationGracePeriodSeconds", "default: the sleep before the end, the drain times and 10 seconds"),
    (r"resources\.", "a device's limit and its request are one number"),
    (r"nodeSelector", "the nodes of the devices in the limits (setting image_variants)"),
    (r"topologySpreadConstraints", "default: the predictor's own pods"),
)


def origins(isvc: InferenceService, runtime: ServingRuntime | None, rendered: Rendered) -> tuple[Origin, ...]:
    """Every value of the template that was rendered from these two, in its order, with its source."""
    merged = leaves(_filled(merged_template(isvc, runtime, []) or {}, isvc))
    mine, theirs = leaves(_filled(_own(isvc), isvc)), leaves(_filled(_runtimes(runtime), isvc))
    sources = _Sources(merged, mine, theirs, runtime, isvc)
    return tuple(Origin(*each) for each in sources.of(leaves(rendered.template)))


@dataclass(frozen=True)
class _Sources:
    merged: Mapping[str, Any]
    mine: Mapping[str, Any]
    theirs: Mapping[str, Any]
    runtime: ServingRuntime | None
    isvc: InferenceService

    def of(self, template: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
        for path, value in template.items():
            if self.merged.get(path, _ABSENT) == value:
                yield path, value, self._written(path, value)
            else:
                yield path, value, _default(path)

    def _written(self, path: str, value: Any) -> str:
        own, below = self.mine.get(path, _ABSENT), self.theirs.get(path, _ABSENT)
        if own == value:
            over = "" if below in (_ABSENT, value) else f", over {self._runtime()}'s {below}"
            return f"the InferenceService{over}"
        if below == value:
            return self._runtime()
        if own is _ABSENT and below is _ABSENT:
            return _default(path)
        if path.endswith(".image"):
            return f"{self._runtime()}, with runtimeVersion"
        if re.search(r"\bresources\.", path):
            return f"{self._runtime()}'s {below}, brought into line with the InferenceService's numbers"
        return f"{self._runtime()} and the InferenceService, merged"

    def _runtime(self) -> str:
        if self.runtime is None:
            return "the InferenceService"
        kind = names.CLUSTER_RUNTIME_KIND if self.runtime.scope == "cluster" else names.RUNTIME_KIND
        return f"{kind} {self.runtime.name}"


def _default(path: str) -> str:
    return next((words for pattern, words in _DEFAULTS if re.search(pattern, path)), "Stoker's")


def _own(isvc: InferenceService) -> Object:
    """What the InferenceService says, in the shape of a template."""
    predictor = isvc.predictor
    model = [] if predictor.model is None else [{**predictor.model.container, "name": names.MODEL_CONTAINER}]
    containers = [*model, *predictor.containers]
    if not model and len(containers) == 1:
        containers = [{**containers[0], "name": names.MODEL_CONTAINER}]
    return _template(
        predictor.labels, predictor.annotations, {**predictor.pod_spec, "containers": containers}
    )


def _runtimes(runtime: ServingRuntime | None) -> Object:
    if runtime is None:
        return {}
    spec = {**runtime.pod_spec, "containers": list(runtime.containers)}
    return _template(runtime.pod_labels, runtime.pod_annotations, spec)


def _template(labels: Mapping[str, str], annotations: Mapping[str, str], spec: Object) -> Object:
    return {"metadata": {"labels": dict(labels), "annotations": dict(annotations)}, "spec": spec}


def _filled(template: Object, isvc: InferenceService) -> Any:
    return replace(template, Values(isvc.name, isvc.namespace, isvc.labels, isvc.annotations), "", [])[0]
