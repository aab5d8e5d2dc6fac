"""How many pods, how they are replaced, and what an autoscaler would go by.

Stoker does not scale by metrics yet, and says so in a warning; a mistake there is refused all the same, since
the file is meant to be right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from stoker.serving import quantities
from stoker.serving.api.objects import InferenceService
from stoker.serving.problems import FieldProblem, child, forbidden, invalid, not_supported, required

# KServe's words: pkg/apis/serving/v1beta1/component.go and autoscaling.go (v0.20).
METRICS = ("concurrency", "cpu", "memory", "rps")
TARGETS = ("AverageValue", "Utilization", "Value")
SOURCES = {"Resource": "resource", "External": "external", "PodMetric": "podmetric"}
_NUMBER = re.compile(r"[0-9]{1,4}")

Found = Iterator[FieldProblem]


def check(isvc: InferenceService) -> Found:
    """All of it; types that are wrong are told of where they are read."""
    predictor = isvc.predictor
    low, high = predictor.min_replicas, predictor.max_replicas
    if high and high < low:  # 0: not limited, as in KServe
        yield invalid(
            "spec.predictor.maxReplicas", high, f"must not be less than minReplicas, which is {low}"
        )
    yield from _strategy(predictor.deployment_strategy or {})
    yield from _metric(predictor.raw)
    scaling = predictor.raw.get("autoScaling")
    metrics = scaling.get("metrics") if isinstance(scaling, dict) else None
    for number, each in enumerate(metrics if isinstance(metrics, list) else []):
        yield from _source(each, child("spec.predictor.autoScaling.metrics", number))


def _strategy(strategy: Mapping[str, Any]) -> Found:
    path = "spec.predictor.deploymentStrategy"
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind not in (None, "", "RollingUpdate", "Recreate"):
        yield not_supported(child(path, "type"), kind, ["RollingUpdate", "Recreate"])
    if kind == "Recreate" and rolling is not None:
        yield forbidden(child(path, "rollingUpdate"), "must not be set where type is Recreate")
    if not isinstance(rolling, dict):
        return
    for name in rolling.keys() - {"maxSurge", "maxUnavailable"}:
        yield not_supported(child(path, "rollingUpdate", name), name, ["maxSurge", "maxUnavailable"])
    both = [rolling.get(name) for name in ("maxSurge", "maxUnavailable")]
    if all(each is not None and str(each).removesuffix("%").strip("0") == "" for each in both):
        detail = "must not be 0 where maxSurge is 0: no pod could ever be replaced"
        yield invalid(child(path, "rollingUpdate", "maxUnavailable"), both[1], detail)
    for name in ("maxSurge", "maxUnavailable"):
        yield from _share(rolling.get(name), child(path, "rollingUpdate", name), name)


def _share(value: Any, path: str, name: str) -> Found:
    if value is None:
        return
    number = str(value).removesuffix("%")
    # KServe documents numbers as text, which a Deployment of its own would refuse; here they are numbers.
    if isinstance(value, bool) or not _NUMBER.fullmatch(number):
        yield invalid(path, value, 'must be a number of pods, 0 or greater, or a percentage: "25%"')
    elif name == "maxUnavailable" and str(value).endswith("%") and int(number) > 100:
        yield invalid(path, value, "must be at most 100%")


def _metric(predictor: Mapping[str, Any]) -> Found:
    path = "spec.predictor"
    metric, kind = predictor.get("scaleMetric"), predictor.get("scaleMetricType")
    if metric not in (None, "") and metric not in METRICS:
        yield not_supported(child(path, "scaleMetric"), metric, METRICS)
    if kind not in (None, "") and kind not in TARGETS:
        yield not_supported(child(path, "scaleMetricType"), kind, TARGETS)
    target = predictor.get("scaleTarget")
    if isinstance(target, int) and not isinstance(target, bool):
        utilization = kind in (None, "", "Utilization")
        if target < 1:
            yield invalid(child(path, "scaleTarget"), target, "must be at least 1")
        elif metric == "cpu" and utilization and target > 100:
            yield invalid(child(path, "scaleTarget"), target, "must be a percentage from 1 to 100")


def _source(metric: Any, path: str) -> Found:
    if not isinstance(metric, dict):
        yield invalid(path, metric, "must be an object")
        return
    kind = metric.get("type")
    field = SOURCES.get(str(kind))
    if kind is None or field is None:
        yield not_supported(child(path, "type"), kind, SOURCES)
        return
    source = metric.get(field)
    if not isinstance(source, dict):
        yield required(child(path, field), f"what a metric of type {kind} is read from")
        return
    if field == "resource":
        yield from _resource(source, child(path, field))
    elif field == "external":
        inner = source.get("metric")
        if isinstance(inner, dict) and not inner.get("query"):
            yield required(child(path, field, "metric", "query"), "what the backend is asked")


def _resource(source: Mapping[str, Any], path: str) -> Found:
    if source.get("name") not in ("cpu", "memory"):
        yield not_supported(child(path, "name"), source.get("name"), ["cpu", "memory"])
    target = source.get("target")
    if not isinstance(target, dict):
        yield required(child(path, "target"), "the value that is aimed at")
        return
    kind = target.get("type")
    if kind not in TARGETS:
        yield not_supported(child(path, "target", "type"), kind, TARGETS)
    share = target.get("averageUtilization")
    if share is not None and (isinstance(share, bool) or not isinstance(share, int) or not 1 <= share <= 100):
        where = child(path, "target", "averageUtilization")
        yield invalid(where, share, "must be a percentage from 1 to 100")
    for name in ("averageValue", "value"):
        if target.get(name) is not None:
            try:
                quantities.parse(target[name])
            except ValueError as error:
                yield invalid(child(path, "target", name), target[name], str(error))
