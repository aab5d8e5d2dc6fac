"""What of an InferenceService shapes its pods: two with equal inputs share a revision, and roll nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stoker.serving import quantities
from stoker.serving.api.objects import EXTENSION_FIELDS, InferenceService
from stoker.serving.api.reading import Object

# How many pods there are and how traffic reaches them says nothing about what is in a pod.
_NOT_IN_PODS = EXTENSION_FIELDS - {"labels", "annotations"}


def inputs_of(isvc: InferenceService, labels: Iterable[str], annotations: Iterable[str]) -> Object:
    """The canonical `spec.predictor`, and the values of the labels and annotations that placeholders used.

    Needs no runtime: a stored revision is current as long as this, asked with the keys that it stored, equals
    what it stored, whatever became of its runtime. A key that the InferenceService lost is left out.
    """
    predictor = {name: value for name, value in isvc.predictor.raw.items() if name not in _NOT_IN_PODS}
    return {
        "predictor": _canonical(predictor),
        "labels": _chosen(isvc.labels, labels),
        "annotations": _chosen(isvc.annotations, annotations),
    }


def _chosen(values: Mapping[str, str], keys: Iterable[str]) -> dict[str, str]:
    return {key: values[key] for key in sorted(set(keys)) if key in values}


def _canonical(tree: Any, field: str = "") -> Any:
    """The tree with the quantities of `resources` written in one way. Nulls stay: merging acts on them."""
    if isinstance(tree, dict):
        if field in ("limits", "requests"):
            return {name: quantities.canonical(value) for name, value in tree.items()}
        return {name: _canonical(value, name) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_canonical(value) for value in tree]
    return tree
