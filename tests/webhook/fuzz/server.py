"""The API server, asked whether it would store an object: a strict dry run on one kept connection."""

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

from stoker.local.control_plane import ApiServer

Object = dict[str, Any]
_TRIES = 3

_PLURALS = {
    "InferenceService": "inferenceservices",
    "ServingRuntime": "servingruntimes",
    "ClusterServingRuntime": "clusterservingruntimes",
    "Deployment": "deployments",
    "Service": "services",
    "ControllerRevision": "controllerrevisions",
    "PodDisruptionBudget": "poddisruptionbudgets",
}


class DryRuns:
    """Creates that are never stored."""

    def __init__(self, server: ApiServer) -> None:
        config = yaml.safe_load(server.kubeconfig.read_text())
        user = config["users"][0]["user"]
        context = ssl.create_default_context(
            cadata=base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
        )
        with tempfile.TemporaryDirectory() as folder:
            pem = Path(folder) / "client.pem"
            parts = ("client-certificate-data", "client-key-data")
            pem.write_bytes(b"".join(base64.b64decode(user[part]) for part in parts))
            context.load_cert_chain(pem)
        url = urlsplit(server.url)
        self._connection = http.client.HTTPSConnection(
            url.hostname or "", url.port, context=context, timeout=30
        )

    def create(self, obj: Object) -> Object | None:
        """None where the object would be stored, else the Status that says why not."""
        group = obj["apiVersion"]
        path = f"/apis/{group}" if "/" in group else f"/api/{group}"
        if obj["kind"] != "ClusterServingRuntime":
            path += f"/namespaces/{obj['metadata']['namespace']}"
        path += f"/{_PLURALS[obj['kind']]}?dryRun=All&fieldValidation=Strict&fieldManager=fuzz"
        code, document = self._post(path, json.dumps(obj))
        return None if code == 201 else document

    def _post(self, path: str, body: str) -> tuple[int, Object]:
        """Asks anew where the connection broke, as it does when an hour's run is stopped for a while."""
        for left in reversed(range(_TRIES)):
            try:
                self._connection.request("POST", path, body, {"Content-Type": "application/json"})
                reply = self._connection.getresponse()
                return reply.status, json.loads(reply.read())
            except (http.client.HTTPException, OSError):
                self._connection.close()
                if not left:
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        self._connection.close()
