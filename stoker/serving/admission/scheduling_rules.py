"""What Kubernetes asks of the fields that say where a pod may run, by definition of its schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from stoker.serving.admission import syntax
from stoker.serving.admission.places import Place
from stoker.serving.admission.pod_shape import Rule
from stoker.serving.problems import FieldProblem, child, forbidden, invalid, required

Found = Iterator[FieldProblem]
Object = Mapping[str, Any]
_NUMBER = re.compile(r"-?[0-9]{1,18}")


def _toleration(toleration: Object, at: Place) -> Found:
    operator = toleration.get("operator") or "Equal"
    if not toleration.get("key") and operator != "Exists":
        yield invalid(at.field("operator").path, operator, "must be Exists where there is no key")
    if operator == "Exists" and toleration.get("value"):
        yield invalid(at.field("value").path, toleration["value"], "must be empty where operator is Exists")
    if toleration.get("tolerationSeconds") is not None and toleration.get("effect") != "NoExecute":
        path = at.field("effect").path
        yield invalid(path, toleration.get("effect"), "must be NoExecute where tolerationSeconds is set")
    value = toleration.get("value") or ""
    if operator == "Equal":
        yield from syntax.label_value(value, at.field("value").path)
    elif operator != "Exists" and not syntax.filled_in_later(operator):  # Gt and Lt are alpha in 1.37
        yield invalid(at.field("operator").path, operator, "must be Equal or Exists")
    if toleration.get("key"):
        yield from syntax.qualified_name(toleration["key"], at.field("key").path)


def _spread(constraint: Object, at: Place) -> Found:
    yield from syntax.at_least(constraint, "maxSkew", 1, at)
    yield from _topology_key(constraint, at)
    if not constraint.get("whenUnsatisfiable"):
        yield required(at.field("whenUnsatisfiable").path, "DoNotSchedule or ScheduleAnyway")
    yield from syntax.at_least(constraint, "minDomains", 1, at)
    if constraint.get("minDomains") is not None and constraint.get("whenUnsatisfiable") == "ScheduleAnyway":
        yield forbidden(at.field("minDomains").path, "only where whenUnsatisfiable is DoNotSchedule")


def _topology_key(term: Object, at: Place) -> Found:
    if not term.get("topologyKey"):
        yield required(at.field("topologyKey").path, "a label of nodes, kubernetes.io/hostname for example")
    else:
        yield from syntax.qualified_name(term["topologyKey"], at.field("topologyKey").path)


def _node_selector(selector: Object, at: Place) -> Found:
    if not selector.get("nodeSelectorTerms"):
        yield required(at.field("nodeSelectorTerms").path, "at least one term, of which one must match")


def _node_term(term: Object, at: Place) -> Found:
    for number, each in enumerate(term.get("matchExpressions") or []):  # names of nodes may be longer
        yield from _values(each, at.field("matchExpressions").entry(number, each))
    for number, each in enumerate(term.get("matchFields") or []):
        place = at.field("matchFields").entry(number, each)
        key = each.get("key") or ""
        if key != "metadata.name" and not syntax.filled_in_later(key):
            yield invalid(place.field("key").path, key, "must be metadata.name, the only such field")
        if each.get("operator") not in ("In", "NotIn") or len(each.get("values") or []) != 1:
            path = place.field("operator").path
            yield invalid(path, each.get("operator"), "must be In or NotIn, with one value")
        for index, name in enumerate(each.get("values") or []):
            yield from syntax.dns_name(name, place.field("values").entry(index, name).path)


def _node_requirement(requirement: Object, at: Place) -> Found:
    operator, values = requirement.get("operator"), requirement.get("values") or []
    if operator not in ("Gt", "Lt"):
        yield from _requirement(requirement, at)
        return
    if len(values) != 1 or not _NUMBER.fullmatch(values[0]):
        yield invalid(at.field("values").path, values, f"must be one whole number for operator {operator}")
    yield from syntax.qualified_name(requirement.get("key") or "", at.field("key").path)


def _requirement(requirement: Object, at: Place) -> Found:
    operator, values = requirement.get("operator"), requirement.get("values") or []
    path = at.field("values").path
    if operator in ("In", "NotIn") and not values:
        yield required(path, f"operator {operator} compares with one or more")
    if operator in ("Exists", "DoesNotExist") and values:
        yield forbidden(path, f"operator {operator} compares with none")
    if operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
        yield invalid(at.field("operator").path, operator, "must be In, NotIn, Exists or DoesNotExist")
    yield from syntax.qualified_name(requirement.get("key") or "", at.field("key").path)


def _values(requirement: Object, at: Place) -> Found:
    for number, value in enumerate(requirement.get("values") or []):
        yield from syntax.label_value(value, at.field("values").entry(number, value).path)


def _label_requirement(requirement: Object, at: Place) -> Found:
    yield from _requirement(requirement, at)
    yield from _values(requirement, at)


def _label_selector(selector: Object, at: Place) -> Found:
    labels = at.field("matchLabels").path
    for key, value in (selector.get("matchLabels") or {}).items():
        yield from syntax.qualified_name(key, child(labels, key))
        yield from syntax.label_value(value, child(labels, key))


def _weight(term: Object, at: Place) -> Found:
    if not 1 <= (term.get("weight") or 0) <= 100:
        yield invalid(at.field("weight").path, term.get("weight"), "must be from 1 to 100")


SCHEDULING_RULES: Mapping[str, Rule] = {
    "Toleration": _toleration,
    "TopologySpreadConstraint": _spread,
    "PodAffinityTerm": _topology_key,
    "NodeSelector": _node_selector,
    "NodeSelectorTerm": _node_term,
    "NodeSelectorRequirement": _node_requirement,
    "LabelSelectorRequirement": _label_requirement,
    "LabelSelector": _label_selector,
    "PreferredSchedulingTerm": _weight,
    "WeightedPodAffinityTerm": _weight,
}
