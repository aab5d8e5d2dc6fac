"""The webhook's metrics, and the only file here that knows prometheus_client.

stoker_webhook_reviews_total{kind,operation,verdict}     verdict: allowed, warned, refused, unjudged
stoker_webhook_problems_total{kind,reason,field}         problems in refusals; one refusal may have many
stoker_webhook_malformed_total{code}                     requests that were no AdmissionReview
stoker_webhook_review_duration_seconds{kind}             from the first byte read to the answer
stoker_webhook_certificate_expiry_timestamp_seconds{certificate}   authority, leaf
stoker_webhook_certificate_steps_total{step}             changes that this replica made to the Secret
stoker_event_loop_lag_seconds                            how late a sleep of the event loop ends
stoker_webhook_runtimes{state}                           usable, unreadable: what reviews are judged with
"""

from __future__ import annotations

from itertools import product

from prometheus_client import Counter, Gauge, Histogram, generate_latest

from stoker.kube.exposition import program_registry
from stoker.kube.loop_lag import BUCKETS
from webhook.certificates import Held
from webhook.renewal import Step
from webhook.review import Judgement, Review

# Anything may be asked of an open port: values that are not ours share one label.
_VERDICTS = ("allowed", "warned", "refused", "unjudged")
_KINDS = frozenset({"InferenceService", "ServingRuntime", "ClusterServingRuntime"})
# Which rules refuse is told by the field at fault, cut to one of these: what follows may be a user's word.
FIELDS = (
    "metadata",
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "spec",
    "spec.annotations",
    "spec.containers",
    "spec.predictor",
    "spec.predictor.annotations",
    "spec.predictor.autoScaling",
    "spec.predictor.containers",
    "spec.predictor.deploymentStrategy",
    "spec.predictor.labels",
    "spec.predictor.maxReplicas",
    "spec.predictor.minReplicas",
    "spec.predictor.model",
    "spec.predictor.model.args",
    "spec.predictor.model.env",
    "spec.predictor.model.image",
    "spec.predictor.model.modelFormat",
    "spec.predictor.model.resources",
    "spec.predictor.model.runtime",
    "spec.predictor.model.storage",
    "spec.predictor.model.storageUri",
    "spec.predictor.volumes",
    "spec.protocolVersions",
    "spec.supportedModelFormats",
    "spec.volumes",
)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0)


class Metrics:
    """One process's counts, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = program_registry()
        self._reviews = Counter(
            "stoker_webhook_reviews", "Reviews answered.", ["kind", "operation", "verdict"], registry=registry
        )
        self._problems = Counter(
            "stoker_webhook_problems", "Problems in refusals.", ["kind", "reason", "field"], registry=registry
        )
        self._malformed = Counter(
            "stoker_webhook_malformed", "Requests that were no review.", ["code"], registry=registry
        )
        self._seconds = Histogram(
            "stoker_webhook_review_duration_seconds",
            "Seconds from the first byte of a review to its answer.",
            ["kind"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._expiry = Gauge(
            "stoker_webhook_certificate_expiry_timestamp_seconds",
            "When the certificate ends, as a Unix time.",
            ["certificate"],
            registry=registry,
        )
        self.loop_lag = Histogram(
            "stoker_event_loop_lag_seconds",
            "By how much a short sleep of the event loop ended late.",
            buckets=BUCKETS,
            registry=registry,
        )
        self._steps = Counter(
            "stoker_webhook_certificate_steps",
            "Changes made to the certificates' Secret.",
            ["step"],
            registry=registry,
        )
        self._runtimes = Gauge(
            "stoker_webhook_runtimes", "Runtimes that reviews know.", ["state"], registry=registry
        )
        # From zero on, so that increase() sees the first of them.
        for each in product(sorted(_KINDS), ("CREATE", "UPDATE"), _VERDICTS):
            self._reviews.labels(*each)
        for step in Step:
            if step is not Step.KEEP:
                self._steps.labels(step.value)

    def exposition(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)

    def answered(self, review: Review, judgement: Judgement, seconds: float) -> None:
        """One review got its answer."""
        kind = _kind(review.kind)
        self._reviews.labels(kind, review.operation, _verdict(judgement)).inc()
        self._seconds.labels(kind).observe(seconds)
        for problem in judgement.problems:
            self._problems.labels(kind, problem.reason, _field(problem.field)).inc()

    def malformed(self, code: int) -> None:
        """One request was refused before there was a review to judge."""
        self._malformed.labels(str(code)).inc()

    def certificates_live(self, held: Held) -> None:
        """What is held now."""
        self._expiry.labels("authority").set(held.authority.certificate.expires.timestamp())
        if held.leaf:
            self._expiry.labels("leaf").set(held.leaf.certificate.expires.timestamp())

    def certificate_step(self, step: Step) -> None:
        """This replica changed the Secret."""
        self._steps.labels(step.value).inc()

    def runtimes(self, usable: int, unreadable: int) -> None:
        """How many runtimes are in the caches."""
        self._runtimes.labels("usable").set(usable)
        self._runtimes.labels("unreadable").set(unreadable)


def _kind(kind: str) -> str:
    return kind if kind in _KINDS else "other"


def _field(path: str) -> str:
    """The longest of FIELDS that the path is or lies below, `other` where there is none."""
    steps = path.split(".")
    for count in range(min(len(steps), 4), 0, -1):
        found = ".".join([*steps[: count - 1], steps[count - 1].partition("[")[0]])
        if found in FIELDS:
            return found
    return "other"


def _verdict(judgement: Judgement) -> str:
    if judgement.fault is not None:
        return "unjudged"
    if judgement.problems:
        return "refused"
    return "warned" if judgement.warnings else "allowed"
