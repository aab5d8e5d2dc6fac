"""What is told of each InferenceService. Its series go with it: labels hold names of objects that exist."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator
from datetime import datetime
from typing import Any, get_args

from prometheus_client import CollectorRegistry, Gauge, Histogram

from stoker.kube.conditions import find_condition
from stoker.kube.resource import Key, Object, key_of
from stoker.serving.api.objectives import usable_objectives
from stoker.serving.rollouts.rollout import Phase
from stoker.serving.status.cold_start import PHASES
from stoker.serving.status.reasons import SPEC_REASONS, known

_START_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 180, 300, 600, 900, 1800, 3600)
_UNDER_WAY = frozenset(get_args(Phase)) - {"Complete", "Canary"}
_Series = tuple[Gauge, tuple[str, ...]]


class ServiceSeries:
    """Follows the statuses that are written."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(name, words, labels, registry=registry)

        def histogram(name: str, words: str) -> Histogram:
            return Histogram(name, words, registry=registry, buckets=_START_SECONDS)

        own = "stoker_inferenceservice"
        one = ("namespace", "name")
        self._ready = gauge(f"{own}_ready", "1 where Ready is True.", *one)
        self._condition = gauge(f"{own}_condition", "1 where it is True.", *one, "condition")
        self._reason = gauge(f"{own}_not_ready_reason", "1: why Ready is not True.", *one, "reason")
        self._replicas = gauge(f"{own}_replicas", "Of all revisions.", *one, "state")
        self._traffic = gauge(f"{own}_traffic_percent", "Share of requests.", *one, "revision")
        self._phase = gauge(f"{own}_rollout_phase", "1 for where the rollout is.", *one, "phase")
        self._began = gauge(f"{own}_rollout_began_timestamp_seconds", "While one is under way.", *one)
        self._cold_start = gauge(f"{own}_cold_start_seconds", "Of a first pod, by phase.", *one, "phase")
        self._share = gauge(f"{own}_objective", "Share of first tokens within le.", *one, "le")
        self._availability = gauge(f"{own}_availability_objective", "Share of requests.", *one)
        self._to_ready = histogram(f"{own}_time_to_ready_seconds", "From creation until first Ready.")
        self._rollout = histogram(f"{own}_rollout_seconds", "Of a rollout that ended.")
        self._broken = gauge("stoker_controller_spec_problems", "Specs that cannot be rendered.", "reason")
        for each in SPEC_REASONS:
            self._broken.labels(each).set(0)
        self._shown: dict[Key, frozenset[_Series]] = {}
        self._problems: dict[Key, str] = {}
        self._rollouts: dict[Key, float] = {}  # under way -> since when

    def judged(self, obj: Object, status: Object, phase: Phase | None, now: float) -> None:
        """An InferenceService has this status; `now`: seconds since the epoch. `phase`: of its rollout, None
        where nothing sure is known of what is wanted.
        """
        key, before = key_of(obj), obj.get("status") or {}
        if (
            _is(status, "Ready")
            and not _is(before, "Ready")
            and not _predictor(before, "latestRolledoutRevision")
        ):
            created = datetime.fromisoformat(obj["metadata"]["creationTimestamp"]).timestamp()
            self._to_ready.observe(max(0.0, now - created))
        self._follow_rollout(key, status, phase, now)
        values = dict(self._values(key, obj, status, phase))
        for gauge, labels in self._shown.get(key, frozenset()) - values.keys():
            gauge.remove(*labels)
        for (gauge, labels), value in values.items():
            gauge.labels(*labels).set(value)
        self._shown[key] = frozenset(values)
        model = status.get("modelStatus", {})
        invalid = model.get("transitionStatus") == "InvalidSpec"
        self._set_problem(key, model.get("lastFailureInfo", {}).get("reason") if invalid else None)

    def forget(self, key: Key) -> None:
        """An InferenceService is gone: so are its series."""
        self._set_problem(key, None)
        self._rollouts.pop(key, None)
        for gauge, labels in self._shown.pop(key, frozenset()):
            gauge.remove(*labels)

    def _values(
        self, key: Key, obj: Object, status: Object, phase: Phase | None
    ) -> Iterator[tuple[_Series, float]]:
        """Every series that this InferenceService has now."""
        one = (key.namespace, key.name)
        yield (self._ready, one), _is(status, "Ready")
        for condition in status.get("conditions") or []:
            yield (self._condition, (*one, condition["type"])), condition["status"] == "True"
            if condition["type"] == "Ready" and condition["status"] != "True":
                yield (self._reason, (*one, known(condition["reason"]))), 1
        counted = (status.get("summary") or {}).get("replicas", "").split("/")
        for state, count in zip(("ready", "wanted"), counted, strict=False):
            if count.isdigit():
                yield (self._replicas, (*one, state)), int(count)
        for share in _predictor(status, "traffic") or []:
            yield (self._traffic, (*one, share["revisionName"])), share["percent"]
        for each in get_args(Phase) if phase else ():
            yield (self._phase, (*one, each)), each == phase
        if key in self._rollouts:
            yield (self._began, one), self._rollouts[key]
        start = status.get("coldStart") or {}
        for each in PHASES:
            if f"{each}Seconds" in start:
                yield (self._cold_start, (*one, each)), start[f"{each}Seconds"]
        objectives = usable_objectives(obj["metadata"].get("annotations") or {})
        if objectives.availability is not None:
            yield (self._availability, one), objectives.availability
        if objectives.ttft is not None:
            yield (self._share, (*one, objectives.ttft.le)), objectives.ttft.share

    def _follow_rollout(self, key: Key, status: Object, phase: Phase | None, now: float) -> None:
        """From the moment a spec asks for another revision than the one rolled out, until it is rolled out or
        holds as a canary. A first start is none: that is the time to ready.
        """
        created, rolled_out = (
            _predictor(status, f"latest{each}Revision") for each in ("Created", "Rolledout")
        )
        if phase in _UNDER_WAY and rolled_out and created != rolled_out:
            latest = find_condition(status.get("conditions") or [], "LatestDeploymentReady") or {}
            known = latest.get("status") != "True" and latest.get("lastTransitionTime")
            self._rollouts.setdefault(key, datetime.fromisoformat(known).timestamp() if known else now)
            return
        began = self._rollouts.pop(key, None)
        if began is not None and phase in {"Complete", "Canary"}:
            self._rollout.observe(max(0.0, now - began))

    def _set_problem(self, key: Key, reason: str | None) -> None:
        before = self._problems.pop(key, None)
        if reason is not None:
            self._problems[key] = reason
        if before != reason:
            counts = Tally(self._problems.values())
            for each in {before, reason} - {None}:
                self._broken.labels(each).set(counts[str(each)])


def _is(status: Object, kind: str) -> bool:
    found = find_condition(status.get("conditions") or [], kind)
    return found is not None and found["status"] == "True"


def _predictor(status: Object, field: str) -> Any:
    return ((status.get("components") or {}).get("predictor") or {}).get(field)
