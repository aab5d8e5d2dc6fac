"""A review and the verdict on it: `stoker.serving.admission.validate`, asked before an object is stored.

Pure. The wire format is admission.k8s.io/v1. What can go wrong ends in one of three ways:

    the request is no AdmissionReview      MalformedReview: an HTTP 4xx
    the object breaks rules                refused with every problem: 422 with one cause per problem
    a rule itself fails (a bug)            allowed, with a warning

The last is a choice. A refusal would block every write of such an object, even one by a script that only
wants to set a label, until a new Stoker is installed; and nothing is gained by it, because the controller
asks the same rules again before it renders and reports what it finds in the status. Security is not left to
this either: the CRD's schema, Pod Security and the controller hold without the webhook.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stoker.serving import names
from stoker.serving.admission.validate import Verdict, validate_inference_service, validate_runtime
from stoker.serving.api.objects import LEGACY_FORMATS, ServingRuntime
from stoker.serving.problems import FieldProblem
from stoker.serving.settings import Settings

Object = dict[str, Any]

API_VERSION = "admission.k8s.io/v1"
KIND = "AdmissionReview"
INFERENCE_SERVICES = "inferenceservices"
RUNTIMES = "servingruntimes"
CLUSTER_RUNTIMES = "clusterservingruntimes"

MAX_LINE = 1024
_MOST_USERS = 8
# Fields of which the cluster's runtimes decide whether they are right.
_DECIDED_BY_RUNTIMES = (".runtime", ".modelFormat.name", *(f".{name}" for name in LEGACY_FORMATS))


class MalformedReview(Exception):
    """Not an AdmissionReview that could be answered. `status` is the HTTP status, always 4xx."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class Review:
    """One request of the API server. `old` is None but for updates and deletes."""

    uid: str
    operation: str
    group: str
    resource: str
    subresource: str
    kind: str
    name: str
    namespace: str
    object: Object | None
    old: Object | None
    dry_run: bool = False


@dataclass(frozen=True)
class Rules:
    """What a review is judged with. `runtimes`: those the object's namespace can use, cluster's included."""

    settings: Settings
    runtimes: Sequence[ServingRuntime] = ()
    args_schemas: Mapping[str, Object] = field(default_factory=dict)
    largest_devices: Mapping[str, int] | None = None
    """By extended resource the most that one node has; None where no node is known."""
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    used_by: Sequence[str] = ()
    """Of a runtime: the InferenceServices that use it, as namespace/name."""


@dataclass(frozen=True)
class Judgement:
    """The answer before it is written down. `fault` is what made a rule fail, where one did."""

    problems: tuple[FieldProblem, ...] = ()
    warnings: tuple[str, ...] = ()
    fault: Exception | None = None

    @property
    def allowed(self) -> bool:
        """Whether the object may be stored."""
        return not self.problems

    @property
    def wants_a_runtime(self) -> bool:
        """Whether another runtime could change the verdict."""
        return any(problem.field.endswith(_DECIDED_BY_RUNTIMES) for problem in self.problems)


def one_line(text: str) -> str:
    """On one line, and not endless: values that users wrote are part of messages."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_LINE else line[: MAX_LINE - 1] + "…"


def parse_review(body: bytes) -> Review:
    """The request in an AdmissionReview. Raises MalformedReview for anything else."""
    try:
        document = json.loads(body, parse_constant=_no_such_number)
    except (ValueError, RecursionError) as fault:
        raise MalformedReview(400, "BadRequest", f"the body is no JSON: {one_line(str(fault))}") from None
    if not isinstance(document, dict):
        raise _bad("the body must be a JSON object")
    if document.get("kind") != KIND or document.get("apiVersion") != API_VERSION:
        said = f"{document.get('apiVersion')} {document.get('kind')}"
        raise _bad(f"the body must be an {API_VERSION} {KIND}, not {one_line(said)}")
    request = document.get("request")
    if not isinstance(request, dict):
        raise _bad("the review has no request")
    uid = request.get("uid")
    if not isinstance(uid, str) or not uid:
        raise _bad("request.uid must be a string: the answer repeats it")
    operation = request.get("operation")
    if operation not in ("CREATE", "UPDATE", "DELETE", "CONNECT"):
        raise _bad("request.operation must be CREATE, UPDATE, DELETE or CONNECT")
    changed = _object(request, "object", needed=operation in ("CREATE", "UPDATE"))
    old = _object(request, "oldObject", needed=operation == "UPDATE")
    resource, kind = _part(request, "resource"), _part(request, "kind")
    return Review(
        uid=uid,
        operation=operation,
        group=_text(resource, "group"),
        resource=_text(resource, "resource"),
        subresource=_text(request, "subResource"),
        kind=_text(kind, "kind"),
        name=_text(request, "name"),
        namespace=_text(request, "namespace"),
        object=changed,
        old=old,
        dry_run=request.get("dryRun") is True,
    )


def judge(review: Review, rules: Rules) -> Judgement:
    """Whether the object may be stored. Never raises; the same for a dry run, since nothing is written."""
    try:
        if review.operation == "DELETE":
            return Judgement(warnings=_of_deletion(review, rules))
        if not _is_judged(review):
            return Judgement()
        verdict = _verdict(review, rules)
    except Exception as fault:  # see the module's text
        return unjudged(f"a rule failed ({type(fault).__name__})", fault)
    if verdict is None:
        return Judgement(warnings=(f"Stoker's webhook has no rules for {one_line(review.resource)}",))
    return Judgement(verdict.problems, verdict.warnings)


def unjudged(why: str, fault: Exception) -> Judgement:
    """Allowed without having been judged, and says so."""
    warning = f"not checked by Stoker's webhook: {why}; the controller checks it and reports in its status"
    return Judgement(warnings=(warning,), fault=fault)


def _is_judged(review: Review) -> bool:
    """Deletion, subresources and updates that change nothing of ours are nobody's mistake.

    The registration leaves most of these out already (`registration.MATCH_CONDITIONS`); asked all the same,
    because an object under deletion that could not be updated would never lose its finalizers.
    """
    if review.operation not in ("CREATE", "UPDATE") or review.subresource or review.object is None:
        return False
    metadata = metadata_of(review.object)
    if metadata.get("deletionTimestamp"):
        return False
    if review.old is None:
        return True
    before = metadata_of(review.old)
    return review.object.get("spec") != review.old.get("spec") or any(
        (metadata.get(name) or {}) != (before.get(name) or {}) for name in ("labels", "annotations")
    )


def _verdict(review: Review, rules: Rules) -> Verdict | None:
    if review.group != names.GROUP or review.object is None:
        return None
    if review.resource == INFERENCE_SERVICES:
        return validate_inference_service(
            review.object,
            review.old,
            rules.runtimes,
            rules.settings,
            args_schemas=rules.args_schemas,
            largest_devices=rules.largest_devices,
            namespace_labels=rules.namespace_labels,
        )
    if review.resource in (RUNTIMES, CLUSTER_RUNTIMES):
        verdict = validate_runtime(
            review.object,
            review.old,
            settings=rules.settings,
            args_schemas=rules.args_schemas,
            namespace_labels=rules.namespace_labels,
            others=rules.runtimes,
        )
        if review.old is None or review.object.get("spec") == review.old.get("spec"):
            return verdict
        return replace(verdict, warnings=(*verdict.warnings, *_of_change(review, rules)))
    return None


def _of_change(review: Review, rules: Rules) -> tuple[str, ...]:
    if not rules.used_by:
        return ()
    said = "their pods stay as they are; each takes the change with the next change of its own spec"
    return (f"{_used(review, rules)}; {said}",)


def _of_deletion(review: Review, rules: Rules) -> tuple[str, ...]:
    if review.subresource or not rules.used_by:
        return ()
    said = "their pods keep running; the next change of their spec needs another runtime"
    return (f"{_used(review, rules)}; {said}",)


def _used(review: Review, rules: Rules) -> str:
    shown = ", ".join(rules.used_by[:_MOST_USERS])
    more = len(rules.used_by) - _MOST_USERS
    return f"{review.kind} {review.name} is used by {shown}" + (f" and {more} more" if more > 0 else "")


def _no_such_number(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _bad(message: str) -> MalformedReview:
    return MalformedReview(400, "BadRequest", message)


def metadata_of(obj: Object) -> Object:
    """An object's metadata; empty where that is no object."""
    metadata = obj.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _object(request: Object, name: str, *, needed: bool) -> Object | None:
    value = request.get(name)
    if value is None and not needed:
        return None
    if not isinstance(value, dict):
        raise _bad(f"request.{name} must be an object")
    return value


def _part(request: Object, name: str) -> Object:
    value = request.get(name)
    if not isinstance(value, dict):
        raise _bad(f"request.{name} must be an object")
    return value


def _text(part: Object, name: str) -> str:
    value = part.get(name)
    if value is not None and not isinstance(value, str):
        raise _bad(f"request's {name} must be a string")
    return value or ""
