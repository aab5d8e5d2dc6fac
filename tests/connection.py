"""One kept connection to an API server, for tests that ask often: a kubectl costs 0.1 s of CPU each time."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

Object = dict[str, Any]
_TRIES = 3


class Connection:
    """As the user of a kubeconfig with a client certificate. Not for several threads at once."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        with tempfile.TemporaryDirectory() as folder:
            pem = Path(folder) / "client.pem"
            parts = ("client-certificate-data", "client-key-data")
            pem.write_bytes(b"".join(base64.b64decode(user[part]) for part in parts))
            context.load_cert_chain(pem)
        url = urlsplit(cluster["server"])
        self._connection = http.client.HTTPSConnection(
            url.hostname or "", url.port, context=context, timeout=30
        )

    def ask(self, method: str, path: str, body: Object | None = None) -> tuple[int, Object]:
        """Status and document. Asks anew where the connection broke, as it does when a run is stopped for a
        while: only for what may be done twice.
        """
        sent = None if body is None else json.dumps(body)
        for left in reversed(range(_TRIES)):
            try:
                self._connection.request(method, path, sent, {"Content-Type": "application/json"})
                reply = self._connection.getresponse()
                return reply.status, json.loads(reply.read())
            except (http.client.HTTPException, OSError):
                self._connection.close()
                if not left:
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """The next question opens it again."""
        self._connection.close()
