"""How one installation is set up: what the programs read from /etc/stoker/settings.yaml.

Times are seconds. Names in the file are the names of the fields here; an unknown one is an error, since a
mistyped setting that is ignored is found much later.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stoker.serving import quantities
from stoker.serving.problems import FieldProblem, Invalid, child, invalid, not_supported, required


@dataclass(frozen=True)
class Accelerator:
    """A device that pods ask for: which build of the image runs on it, and which nodes have it."""

    resource: str  # name in resources.limits; `*` and `?` match as in a shell: nvidia.com/mig-*
    # Of the image of runtimes annotated `stoker.dev/image-variants: "true"`; None: there is no build for it,
    # and a pod that asks for the device is refused instead of running on the CPU beside it.
    image_suffix: str | None
    kserve_suffix: str = ""  # of KServe's own images: huggingfaceserver, tfserving, torchserve
    node_selector: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageVariants:
    """Which build of an image runs on which device. Of several rows that match the first counts."""

    without_accelerator: str = "-cpu"
    accelerators: tuple[Accelerator, ...] = (
        Accelerator("nvidia.com/gpu", "-cuda", "-gpu"),
        Accelerator("nvidia.com/gpu.shared", "-cuda", "-gpu"),
        Accelerator("nvidia.com/mig-*", "-cuda", "-gpu"),
        Accelerator("amd.com/gpu", None),
        Accelerator("aws.amazon.com/neuron*", None),
        Accelerator("google.com/tpu", None),
        Accelerator("gpu.intel.com/i915", None),
        Accelerator("gpu.intel.com/xe", None),
        Accelerator("habana.ai/gaudi", None),
        Accelerator("huawei.com/Ascend*", None),
    )

    def accelerator(self, resource: str) -> Accelerator | None:
        """The row for a resource's name; None where it is no accelerator that is known."""
        matches = (row for row in self.accelerators if fnmatch.fnmatchcase(resource, row.resource))
        return next(matches, None)


def _fetch_resources() -> dict[str, dict[str, Any]]:
    return {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}}


@dataclass(frozen=True)
class Settings:
    """Everything that an administrator may change, with defaults that work."""

    domain: str = "example.com"
    cluster_domain: str = "cluster.local"
    url_scheme: str = "http"
    url_template: str = "{name}.{namespace}.{domain}"
    image_variants: ImageVariants = ImageVariants()
    # A new revision that cannot be scheduled because the old one holds the devices takes over after this.
    hand_over_after: float = 60.0
    # sizeLimit of /dev/shm where the container has no memory limit; with one it is half of that.
    shared_memory: str = "4Gi"
    # "restricted": every pod is as Pod Security `restricted` demands. "compatible": containers of Stoker's
    # own image are; others, which may start as root, get what cannot break them.
    pod_security: str = "compatible"
    # How long a model may take from the container's start until its first token; sizes the startup probe.
    startup_deadline: float = 3600.0
    # How long a revision may take, nodes and images included, until it is called stalled; nothing is stopped
    # then. The annotation stoker.dev/progress-deadline says so for one InferenceService.
    progress_deadline: float = 4200.0
    # The end of a pod: endpoints are removed during `pre_stop_seconds`; late requests are still taken
    # during `lame_duck_seconds`; streams may finish during `drain_seconds`; then the process ends.
    pre_stop_seconds: int = 10
    lame_duck_seconds: int = 5
    drain_seconds: int = 120
    # The init container that fetches storageUri for images other than Stoker's. A container that has more
    # than these has as much for its fetch.
    fetch_image: str = "stoker.dev/fetch:0.1.0"
    fetch_resources: Mapping[str, Mapping[str, Any]] = field(default_factory=_fetch_resources)
    # Whether storageUri may be file:///PATH, a folder of the node: on a local cluster only.
    file_uris: bool = False
    # "warn" where runtimes may be created after the InferenceServices that need them.
    missing_runtime: str = "refuse"
    # "trusted": flags, variables and pod fields that do more than serve are allowed in every namespace that
    # does not carry the label `stoker.dev/security: restricted`. The ValidatingAdmissionPolicy does not read
    # this: its binding has a selector of its own.
    security: str = "restricted"

    @property
    def termination_grace_seconds(self) -> int:
        """`terminationGracePeriodSeconds` of predictor pods: the drain plus a margin to exit in."""
        return self.pre_stop_seconds + self.lame_duck_seconds + self.drain_seconds + 10

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Settings:
        """Settings from the parsed file; Invalid lists everything that is wrong in it."""
        problems: list[FieldProblem] = []
        known = {each.name for each in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        for name, value in given.items():
            if name not in known:
                problems.append(not_supported(str(name), name, known))
            elif name == "image_variants":
                values[name] = _image_variants(value, name, problems)
            else:
                problem = _CHECKS[name](name, value)
                if problem is None:
                    values[name] = value
                else:
                    problems.append(problem)
        if problems:
            raise Invalid(*problems)
        return cls(**values)


def _image_variants(given: Any, path: str, problems: list[FieldProblem]) -> ImageVariants:
    default = ImageVariants()
    if not isinstance(given, Mapping):
        problems.append(invalid(path, given, "must be a mapping"))
        return default
    for name in sorted(map(str, given.keys() - {"without_accelerator", "accelerators"})):
        problems.append(not_supported(child(path, str(name)), name, ["without_accelerator", "accelerators"]))
    rows = given.get("accelerators")
    suffix = given.get("without_accelerator", default.without_accelerator)
    if not isinstance(suffix, str):
        problems.append(invalid(child(path, "without_accelerator"), suffix, "must be a string"))
    if rows is None:
        return ImageVariants(suffix)
    if not isinstance(rows, list):
        problems.append(invalid(child(path, "accelerators"), rows, "must be a list"))
        return default
    made = (_accelerator(row, child(path, "accelerators", n), problems) for n, row in enumerate(rows))
    # The rows given come first, so that a row for one vendor takes no other vendor's away.
    return ImageVariants(suffix, (*(row for row in made if row is not None), *default.accelerators))


def _accelerator(row: Any, path: str, problems: list[FieldProblem]) -> Accelerator | None:
    if not isinstance(row, Mapping):
        problems.append(invalid(path, row, "must be a mapping"))
        return None
    before = len(problems)
    known = {each.name for each in dataclasses.fields(Accelerator)}
    for name in sorted(map(str, row.keys() - known)):
        problems.append(not_supported(child(path, name), name, known))
    if not isinstance(row.get("resource"), str):
        problems.append(required(child(path, "resource"), "a string"))
    if not isinstance(row.get("image_suffix", 0), str | None):
        problems.append(required(child(path, "image_suffix"), "a string, or null where there is no build"))
    kserve_suffix = row.get("kserve_suffix", "")
    if not isinstance(kserve_suffix, str):
        problems.append(invalid(child(path, "kserve_suffix"), kserve_suffix, "must be a string"))
    labels = row.get("node_selector", {})
    if not isinstance(labels, Mapping) or not all(isinstance(value, str) for value in labels.values()):
        problems.append(invalid(child(path, "node_selector"), labels, "must map labels to strings"))
    if len(problems) > before:
        return None
    return Accelerator(row["resource"], row["image_suffix"], kserve_suffix, dict(labels))


def _text(path: str, value: Any) -> FieldProblem | None:
    good = isinstance(value, str) and value != ""
    return None if good else invalid(path, value, "must be a string that is not empty")


def _template(path: str, value: Any) -> FieldProblem | None:
    try:
        parts = list(string.Formatter().parse(value))
    except (TypeError, ValueError):
        return invalid(path, value, "must be text with {name}, {namespace} and {domain}")
    fields = {found for _, found, _, _ in parts if found is not None}
    formatted = any(spec or conversion for _, _, spec, conversion in parts)
    if {"name", "namespace"} <= fields <= {"name", "namespace", "domain"} and not formatted:
        return None
    detail = "must hold {name} and {namespace}, else two services would share a host, and may hold {domain}"
    return invalid(path, value, detail)


def _seconds(path: str, value: Any) -> FieldProblem | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return None if good else invalid(path, value, "must be a number of seconds greater than 0")


def _whole_seconds(path: str, value: Any) -> FieldProblem | None:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return None if good else invalid(path, value, "must be a whole number of seconds, 0 or greater")


def _quantity(path: str, value: Any) -> FieldProblem | None:
    try:
        return None if quantities.parse(value) > 0 else invalid(path, value, "must be greater than 0")
    except ValueError as error:
        return invalid(path, value, str(error))


def _resources(path: str, value: Any) -> FieldProblem | None:
    detail = "must be requests and limits, each a mapping of cpu and memory to quantities"
    if not isinstance(value, Mapping) or not value.keys() <= {"requests", "limits"}:
        return invalid(path, value, detail)
    for part, amounts in value.items():
        if not isinstance(amounts, Mapping) or not amounts.keys() <= {"cpu", "memory", "ephemeral-storage"}:
            return invalid(child(path, part), amounts, detail)
        for name, amount in amounts.items():
            problem = _quantity(child(path, part, name), amount)
            if problem is not None:
                return problem
    return None


def _truth(path: str, value: Any) -> FieldProblem | None:
    return None if isinstance(value, bool) else invalid(path, value, "must be true or false")


def _one_of(*allowed: str) -> Callable[[str, Any], FieldProblem | None]:
    return lambda path, value: None if value in allowed else not_supported(path, value, allowed)


_CHECKS: Mapping[str, Callable[[str, Any], FieldProblem | None]] = {
    "domain": _text,
    "cluster_domain": _text,
    "url_scheme": _one_of("http", "https"),
    "url_template": _template,
    "hand_over_after": _seconds,
    "startup_deadline": _seconds,
    "progress_deadline": _seconds,
    "pre_stop_seconds": _whole_seconds,
    "lame_duck_seconds": _whole_seconds,
    "drain_seconds": _whole_seconds,
    "shared_memory": _quantity,
    "pod_security": _one_of("compatible", "restricted"),
    "fetch_image": _text,
    "fetch_resources": _resources,
    "file_uris": _truth,
    "missing_runtime": _one_of("refuse", "warn"),
    "security": _one_of("restricted", "trusted"),
}
