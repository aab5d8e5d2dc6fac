"""What judging needs beside the files: the runtimes of a cluster, its namespaces' labels, its devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stoker.kube.client import Client, ConnectionConfig, connect
from stoker.kube.resource import NAMESPACES, NODES, Key, Object, Resource
from stoker.serving import names
from stoker.serving.admission import devices

_GROUP, _VERSION = names.RUNTIME_VERSION.split("/")
_RUNTIMES = (
    Resource(_GROUP, _VERSION, "servingruntimes", names.RUNTIME_KIND),
    Resource(_GROUP, _VERSION, "clusterservingruntimes", names.CLUSTER_RUNTIME_KIND, namespaced=False),
)

_INFERENCE_SERVICES = Resource(
    _GROUP, names.INFERENCE_SERVICE_VERSION.split("/")[1], "inferenceservices", names.INFERENCE_SERVICE_KIND
)


@dataclass(frozen=True)
class Surroundings:
    """`runtimes` as objects; labels by namespace; the most devices of a kind on one node (None: unknown)."""

    runtimes: Sequence[Object] = ()
    namespace_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    largest_devices: Mapping[str, int] | None = None


async def look(kubeconfig: str) -> Surroundings:
    """Of a live cluster, with the rights of the kubeconfig. Raises ApiError, ConnectionFailed."""
    async with connect(ConnectionConfig(kubeconfig, "stoker-validate", field_manager="stoker")) as client:
        return await _look(client)


async def look_at(kubeconfig: str, namespace: str, name: str) -> tuple[Object, Surroundings]:
    """An InferenceService of a live cluster, and what is around it. Raises ApiError, ConnectionFailed."""
    async with connect(ConnectionConfig(kubeconfig, "stoker-explain", field_manager="stoker")) as client:
        return await client.get(_INFERENCE_SERVICES, Key(namespace, name)), await _look(client)


async def _look(client: Client) -> Surroundings:
    runtimes = [item for kind in _RUNTIMES for item in (await client.list(kind)).items]
    namespaces = (await client.list(NAMESPACES)).items
    nodes = (await client.list(NODES)).items
    labels = {each["metadata"]["name"]: each["metadata"].get("labels") or {} for each in namespaces}
    return Surroundings(runtimes, labels, devices.largest(map(devices.counts, nodes)))
