"""A verdict as the AdmissionReview that is sent back, and the Status of a request that was no review."""

from __future__ import annotations

from collections.abc import Sequence

from stoker.serving.problems import FieldProblem
from webhook.review import API_VERSION, KIND, Judgement, Object, Review, metadata_of, one_line

# An object may hold as many mistakes as fit into 8 MiB, but the refusal goes into a terminal.
MAX_LISTED = 200


def answer(review: Review, judgement: Judgement) -> Object:
    """The AdmissionReview to send back."""
    response: Object = {"uid": review.uid, "allowed": judgement.allowed}
    if judgement.problems:
        response["status"] = _refusal(review, judgement.problems)
    if judgement.warnings:
        # They become HTTP headers: a line break would lose them.
        response["warnings"] = [one_line(warning) for warning in judgement.warnings[:MAX_LISTED]]
    return {"apiVersion": API_VERSION, "kind": KIND, "response": response}


def status(code: int, reason: str, message: str) -> Object:
    """A metav1.Status of failure: what the API server shows of an answer that is no review."""
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def _refusal(review: Review, problems: Sequence[FieldProblem]) -> Object:
    listed = problems[:MAX_LISTED]
    lines = [one_line(str(problem)) for problem in listed]
    if len(problems) > len(listed):
        lines.append(f"and {len(problems) - len(listed)} more")
    causes = [
        {"reason": problem.reason, "message": one_line(problem.message), "field": problem.field}
        for problem in listed
    ]
    # 422 as the API server answers for its own kinds. 403 would say that the asker lacks a right: it is
    # for policies, and none of today's rules is one.
    refused = status(422, "Invalid", "\n".join(lines))
    return refused | {
        "details": {
            "name": review.name or str(metadata_of(review.object or {}).get("name") or ""),
            "group": review.group,
            "kind": review.kind,
            "causes": causes,
        }
    }
