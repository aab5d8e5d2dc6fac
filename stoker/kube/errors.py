"""What talking to the API server can end in.

    ApiError           the server answered, with a status of 300 or more
    ConnectionFailed   no usable answer: refused, reset, timed out, not JSON
    ConfigInvalid      there is no way to the API server: no kubeconfig, or one that makes no sense

A write that ended in ConnectionFailed may have been stored all the same.
"""

from __future__ import annotations

import json

from stoker.kube.resource import Object

_MESSAGE_LIMIT = 500
# Of the causes in a Status: the version asked for lies in the server's future, which happens after
# etcd was restored from a snapshot. The cure is the one for a version too old: list anew.
_VERSION_FROM_THE_FUTURE = "ResourceVersionTooLarge"


class ApiError(Exception):
    """The API server's refusal, from the Status in its reply (or from whatever stood there instead)."""

    def __init__(
        self,
        status: int,
        reason: str = "",
        message: str = "",
        retry_after: float | None = None,
        details: Object | None = None,
    ) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        """Seconds to leave the server alone, where it said so."""
        self.details: Object = details or {}

    @property
    def is_not_found(self) -> bool:
        """There is no such object (or no such kind)."""
        return self.status == 404

    @property
    def is_conflict(self) -> bool:
        """Another writer came first: read again and retry. An AlreadyExists is not one."""
        return self.status == 409 and self.reason != "AlreadyExists"

    @property
    def is_already_exists(self) -> bool:
        """A create met an object of that name."""
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def is_gone(self) -> bool:
        """The resource version is of no use any more: only a new list helps."""
        if self.status == 410:
            return True
        causes = self.details.get("causes") or []
        return any(cause.get("reason") == _VERSION_FROM_THE_FUTURE for cause in causes)

    @classmethod
    def from_status(
        cls, status: Object, http_status: int | None = None, header: str | None = None
    ) -> ApiError:
        """From a Kubernetes Status object; `header` is the reply's Retry-After and wins over the Status."""
        details = status.get("details") if isinstance(status.get("details"), dict) else {}
        retry_after = _seconds(header)
        if retry_after is None:
            retry_after = _seconds((details or {}).get("retryAfterSeconds"))
        return cls(
            http_status or _int(status.get("code")),
            str(status.get("reason") or ""),
            str(status.get("message") or "")[:_MESSAGE_LIMIT],
            retry_after,
            details,
        )

    @classmethod
    def from_reply(cls, http_status: int, body: bytes, phrase: str | None, header: str | None) -> ApiError:
        """From a refused request's reply. A proxy's error page is quoted in part, not parsed."""
        try:
            status = json.loads(body)
        except ValueError:
            status = None
        if not isinstance(status, dict):
            text = " ".join(body[:_MESSAGE_LIMIT].decode(errors="replace").split())
            status = {"message": text}
        if not status.get("reason"):
            status = {**status, "reason": phrase or ""}
        return cls.from_status(status, http_status, header)


class ConnectionFailed(Exception):
    """No usable answer came from the API server. Always worth a retry."""


class ConfigInvalid(Exception):
    """Where the API server is, or who we are, cannot be read. Trying again does not help."""


def _seconds(value: object) -> float | None:
    """Retry-After as seconds. Its other form, a date, depends on two clocks agreeing: taken as absent."""
    if not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None


def _int(value: object) -> int:
    return value if isinstance(value, int) else 500
