"""A few plain requests to the cluster's API server, as its administrator, while it starts.

`stoker.kube` is for programs that live long; this asks a server that may not be there yet.
"""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_TIMEOUT = 5.0


class Api:
    """One API server, reached with the certificates in a `pki` folder."""

    def __init__(self, url: str, pki: Path) -> None:
        self._host = urlsplit(url).netloc
        self._context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._context.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def is_ready(self) -> bool:
        """Whether /readyz says 200."""
        return self._request("GET", "/readyz")[0] == http.client.OK

    def get(self, path: str) -> dict[str, Any] | None:
        """The object or list at a path; None when it is not there or nobody answers."""
        status, body = self._request("GET", path)
        return json.loads(body) if status == http.client.OK else None

    def patch_status(self, path: str, patch: dict[str, Any]) -> bool:
        """Merge-patch the status subresource of the object at a path; whether that worked."""
        headers = {"content-type": "application/merge-patch+json"}
        return self._request("PATCH", f"{path}/status", json.dumps(patch), headers)[0] == http.client.OK

    def _request(
        self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(self._host, context=self._context, timeout=_TIMEOUT)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()
