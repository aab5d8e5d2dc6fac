"""The API server, asked whether it would store an object: a strict dry run on one kept connection."""

from __future__ import annotations

from typing import Any

from stoker.local.control_plane import ApiServer
from tests.connection import Connection

Object = dict[str, Any]

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
        self._connection = Connection(server.kubeconfig)

    def create(self, obj: Object) -> Object | None:
        """None where the object would be stored, else the Status that says why not."""
        group = obj["apiVersion"]
        path = f"/apis/{group}" if "/" in group else f"/api/{group}"
        if obj["kind"] != "ClusterServingRuntime":
            path += f"/namespaces/{obj['metadata']['namespace']}"
        path += f"/{_PLURALS[obj['kind']]}?dryRun=All&fieldValidation=Strict&fieldManager=fuzz"
        code, document = self._connection.ask("POST", path, obj)
        return None if code == 201 else document

    def close(self) -> None:
        self._connection.close()
