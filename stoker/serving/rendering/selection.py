"""Which runtime serves a model: KServe's order, and in words why each of the others does not.

Source of the order: kserve pkg/apis/serving/v1beta1/predictor_model.go and
pkg/controller/v1beta1/inferenceservice/components/predictor.go (v0.20).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from stoker.serving.api.objects import (
    PROTOCOLS,
    InferenceService,
    Model,
    ModelFormat,
    ServingRuntime,
    SupportedFormat,
)
from stoker.serving.problems import listed, nearest

NoRuntimeReason = Literal["RuntimeNotRecognized", "RuntimeDisabled", "NoSupportingRuntime"]
_MOST_SHOWN = 20  # candidates in one message
# Answers kept, of hundreds of runtimes each: those of the formats and namespaces that are asked about now.
_MOST_KEPT = 256


@dataclass(frozen=True)
class Candidate:
    """A runtime that was looked at. `verdict`: "selected", "fits, ..." or why it does not fit."""

    name: str
    scope: Literal["namespaced", "cluster"]
    verdict: str

    def __str__(self) -> str:
        kind = "ServingRuntime" if self.scope == "namespaced" else "ClusterServingRuntime"
        return f"{kind} {self.name}: {self.verdict}"


@dataclass(frozen=True)
class Selection:
    """The runtime taken; None where the predictor has containers of its own and needs none."""

    runtime: ServingRuntime | None
    explain: Callable[[], tuple[Candidate, ...]] = tuple

    @property
    def considered(self) -> tuple[Candidate, ...]:
        """Every runtime with what speaks for or against it. Put into words only when asked for: admission
        selects among hundreds, within milliseconds."""
        return self.explain()


class NoRuntime(Exception):
    """No runtime serves the model. `reason` is KServe's; the message holds every candidate with its why."""

    def __init__(
        self, reason: NoRuntimeReason, message: str, considered: tuple[Candidate, ...], detail: str = ""
    ) -> None:
        self.reason: NoRuntimeReason = reason
        self.message = message
        self.considered = considered
        self.detail = detail or message  # without the list of candidates
        super().__init__(message)


def select_runtime(isvc: InferenceService, runtimes: Sequence[ServingRuntime]) -> Selection:
    """The runtime for an InferenceService, of those given that its namespace can use.

    Raises NoRuntime.
    """
    model = isvc.predictor.model
    if model is None:
        return Selection(None)
    usable = _usable(tuple(runtimes), isvc.namespace)
    if model.runtime is not None:
        return _named(model, model.runtime, usable)
    return _automatic(model, usable)


@lru_cache(maxsize=_MOST_KEPT)
def _usable(runtimes: tuple[ServingRuntime, ...], namespace: str) -> tuple[ServingRuntime, ...]:
    """The namespace's, then the cluster's."""
    own = [each for each in runtimes if each.scope != "cluster" and each.namespace == namespace]
    return (*own, *(each for each in runtimes if each.scope == "cluster"))


def _named(model: Model, name: str, usable: Sequence[ServingRuntime]) -> Selection:
    found = next((each for each in usable if each.name == name), None)
    if found is None:
        names = [each.name for each in usable]
        meant = nearest(name, names)
        hint = f'; did you mean "{meant}"?' if meant else ""
        there = f"there is {listed(sorted(set(names)))}" if names else "there is none"
        message = f'no ServingRuntime or ClusterServingRuntime is called "{name}": {there}{hint}'
        raise NoRuntime("RuntimeNotRecognized", message, ())
    why = _unfit(model, found, automatic=False)
    if why is not None:
        considered = (Candidate(found.name, found.scope, why),)
        reason: NoRuntimeReason = "RuntimeDisabled" if found.disabled else "NoSupportingRuntime"
        raise NoRuntime(reason, f'runtime "{name}" cannot serve this model: {why}', considered)
    return Selection(found, lambda: (Candidate(found.name, found.scope, "selected: named by the model"),))


def _automatic(model: Model, usable: tuple[ServingRuntime, ...]) -> Selection:
    first = _first(usable, model.format, model.protocol)
    if first is None:
        considered = tuple(
            Candidate(each.name, each.scope, _unfit(model, each, automatic=True) or "") for each in usable
        )
        wanted = _wanted(model, usable)
        raise NoRuntime("NoSupportingRuntime", _none_fits(wanted, considered), considered, wanted)
    return Selection(first, lambda: _rows(model, usable))


@lru_cache(maxsize=_MOST_KEPT)
def _first(usable: tuple[ServingRuntime, ...], form: ModelFormat, protocol: str) -> ServingRuntime | None:
    """The one taken for a model that names none; nothing else of the model decides."""
    model = Model(form, "", protocol=protocol)
    fitting = [each for each in usable if _unfit(model, each, automatic=True) is None]
    return min(fitting, key=lambda each: _order(model, each), default=None)


def _rows(model: Model, usable: Sequence[ServingRuntime]) -> tuple[Candidate, ...]:
    """The runtime taken, those that would have fitted in their order, then those that do not."""
    verdicts = {each: _unfit(model, each, automatic=True) for each in usable}
    fitting = [each for each in usable if verdicts[each] is None]
    first, *others = sorted(fitting, key=lambda each: _order(model, each))
    rows = [Candidate(first.name, first.scope, "selected: " + _rank(model, first))]
    rows += [
        Candidate(each.name, each.scope, f"fits, but comes after {first.name}: {_rank(model, each)}")
        for each in others
    ]
    rows += [Candidate(each.name, each.scope, why) for each in usable if (why := verdicts[each]) is not None]
    return tuple(rows)


def _none_fits(wanted: str, considered: Sequence[Candidate]) -> str:
    if not considered:
        return f"{wanted}: there is no ServingRuntime or ClusterServingRuntime at all"
    rows = "; ".join(str(each) for each in considered[:_MOST_SHOWN])
    more = len(considered) - _MOST_SHOWN
    return f"{wanted}: {rows}" + (f"; and {more} more" if more > 0 else "")


def _wanted(model: Model, usable: Sequence[ServingRuntime]) -> str:
    known = {each.name for runtime in usable for each in runtime.formats}
    meant = None if model.format.name in known else nearest(model.format.name, known)
    hint = f' (did you mean "{meant}"?)' if meant else ""
    return f"no runtime supports model format {model.format}{hint} with protocol {model.protocol}"


def _unfit(model: Model, runtime: ServingRuntime, *, automatic: bool) -> str | None:
    """Why the runtime cannot serve the model; None where it can."""
    if runtime.disabled:
        return "it is disabled"
    if runtime.multi_node:
        return "it spans several nodes (workerSpec), which is not supported"
    if runtime.multi_model and automatic:
        return "it serves several models in one pod (multiModel)"
    return _unfit_format(model, runtime, automatic=automatic)


def _unfit_format(model: Model, runtime: ServingRuntime, *, automatic: bool) -> str | None:
    matching = [each for each in runtime.formats if _matches(model, each)]
    if not matching:
        return _other_formats(model, runtime)
    if automatic and not any(each.auto_select for each in matching):
        return f"it supports the format only for models that name it (runtime: {runtime.name})"
    if runtime.protocol_versions and model.protocol not in runtime.protocol_versions:
        return f"it speaks protocols {', '.join(runtime.protocol_versions)}, not {model.protocol}"
    return None


def _matches(model: Model, supported: SupportedFormat) -> bool:
    if supported.name != model.format.name:
        return False
    return model.format.version is None or model.format.version == supported.version


def _other_formats(model: Model, runtime: ServingRuntime) -> str:
    versions = [each.version or "none" for each in runtime.formats if each.name == model.format.name]
    if versions:
        return f"it supports {model.format.name} in version {', '.join(versions)}, not {model.format.version}"
    names = sorted({each.name for each in runtime.formats})
    return f"it supports {', '.join(names)}, not {model.format.name}" if names else "it supports no format"


def _priority(model: Model, runtime: ServingRuntime) -> int | None:
    # KServe reads the first entry of that name, whatever its version.
    return next((each.priority for each in runtime.formats if each.name == model.format.name), None)


def _order(model: Model, runtime: ServingRuntime) -> tuple[int, int, int, tuple[int, ...], str]:
    priority = _priority(model, runtime)
    return (
        runtime.scope == "cluster",
        -(priority or 0),  # a priority is at least 1
        _lowest_protocol(runtime.protocol_versions),
        _newest_first(runtime.creation_timestamp),
        runtime.name,
    )


@lru_cache(maxsize=4096)
def _lowest_protocol(protocols: tuple[str, ...]) -> int:
    known = [PROTOCOLS.index(each) for each in protocols if each in PROTOCOLS]
    return min(known, default=len(PROTOCOLS))


@lru_cache(maxsize=4096)
def _newest_first(timestamp: str) -> tuple[int, ...]:
    # RFC 3339 in UTC, as the API server writes it, sorts as text; turned round here.
    return tuple(-ord(character) for character in timestamp)


def _rank(model: Model, runtime: ServingRuntime) -> str:
    where = "of this namespace" if runtime.scope == "namespaced" else "of the cluster"
    priority = _priority(model, runtime)
    return f"{where}, {'no priority' if priority is None else f'priority {priority}'}"
