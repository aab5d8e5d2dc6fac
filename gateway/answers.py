"""What the gateway itself answers, always in the shape of OpenAI's errors.

    {"error": {"message": ..., "type": ..., "param": null, "code": ...}}

Envoy writes these bodies. The parts that a client chose (its Host) go through Envoy's JSON formatter, which
escapes them; the rest is fixed here.
"""

from __future__ import annotations

import json
from typing import Any

Dict = dict[str, Any]

RETRY_AFTER_SECONDS = 5
# Envoy's flags for "no usable answer came from a pod": UH no healthy host, UF connection failed,
# UC connection ended, UR reset by the pod, LR reset here, UO too many at once, URX retries used up,
# NC no cluster, NR no route, UPE the pod does not speak HTTP, OM too little memory here.
_UPSTREAM_FLAGS = ["UH", "UF", "UC", "UR", "LR", "UO", "URX", "NC", "NR", "UPE", "OM"]
_CLIENT_CODES = (400, 408, 413, 426, 431)


def error(message: str, kind: str, code: str) -> Dict:
    """The error object; `kind` is OpenAI's `type`."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def unknown_host(pattern: str) -> Dict:
    """A direct response: 404 for a Host that names no InferenceService. It tells the form, no names."""
    message = (
        'No InferenceService answers to the host "%REQ(:AUTHORITY)%". '
        f'Send the host of one, as in "Host: {pattern}". '
        "`kubectl get inferenceservices --all-namespaces` shows them in its column URL."
    )
    return {
        "status": 404,
        "body_format": {"json_format": error(message, "invalid_request_error", "unknown_host")},
    }


def not_ready(namespace: str, name: str, reason: str) -> Dict:
    """A direct response: 503 for an InferenceService without a pod that takes requests."""
    why = f" ({reason})" if reason else ""
    message = (
        f'InferenceService "{name}" in namespace "{namespace}" has no ready pod{why}. '
        f"`kubectl describe inferenceservice {name} --namespace {namespace}` says why."
    )
    body = error(message, "server_error", "no_ready_pods")
    return {"status": 503, "body": {"inline_string": json.dumps(body)}}


def retry_after() -> Dict:
    """The header that tells well-made clients when to come again."""
    return {
        "header": {"key": "retry-after", "value": str(RETRY_AFTER_SECONDS)},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def local_replies() -> Dict:
    """`local_reply_config`: Envoy's own plain-text errors, reworded."""
    timeout = error(
        "The answer took longer than spec.predictor.timeout of the InferenceService allows.",
        "server_error",
        "timeout",
    )
    unreachable = error("No pod could be reached: %LOCAL_REPLY_BODY%", "server_error", "upstream_unavailable")
    refused = error(
        "The gateway refused the request: %RESPONSE_CODE_DETAILS%", "invalid_request_error", "bad_request"
    )
    return {
        "mappers": [
            {
                "filter": {"response_flag_filter": {"flags": ["UT", "SI", "DT", "UMSDR"]}},
                "body_format_override": {"json_format": timeout},
            },
            {
                "filter": {"response_flag_filter": {"flags": _UPSTREAM_FLAGS}},
                "headers_to_add": [retry_after()],
                "body_format_override": {"json_format": unreachable},
            },
            *(
                {"filter": _status(code), "body_format_override": {"json_format": refused}}
                for code in _CLIENT_CODES
            ),
        ]
    }


def _status(code: int) -> Dict:
    value = {"default_value": code, "runtime_key": "stoker.unused"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}
