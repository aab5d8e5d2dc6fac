"""The one error shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    417: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}


class ApiProblem(Exception):
    """A request that is not answered, and why: becomes OpenAI's error object with the HTTP status."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        # Both may quote the client, whose JSON can spell what no UTF-8 can say.
        self.message = message.encode(errors="replace").decode()
        self.param = param.encode(errors="replace").decode() if param is not None else None
        self.code = code
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """OpenAI's error object."""
        kind = _TYPES.get(self.status, "internal_server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def model_not_found(name: str) -> ApiProblem:
    """The 404 for a model that this server does not have."""
    return ApiProblem(
        404, f"The model `{name[:200]}` does not exist here.", param="model", code="model_not_found"
    )


def engine_failed() -> ApiProblem:
    """The 503 for an engine that ended and will not come back."""
    return ApiProblem(503, "The engine has failed; the server is being replaced.", code="engine_failed")
