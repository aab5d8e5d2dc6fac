"""Pods' metrics through the API server: no Prometheus needed, and no way into the pods' network."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stoker.cli.live.exposition import parse
from stoker.cli.live.rates import Scrape
from stoker.kube.errors import ApiError, ConnectionFailed
from stoker.kube.resource import PODS, Key, Object, Resource
from stoker.kube.verbs import Client
from stoker.serving import names
from stoker.serving.status.pods import is_terminating, model_runs

_GROUP, _VERSION = names.INFERENCE_SERVICE_VERSION.split("/")
_INFERENCE_SERVICES = Resource(_GROUP, _VERSION, "inferenceservices", names.INFERENCE_SERVICE_KIND)
_SELECTOR = f"{names.INFERENCE_SERVICE_LABEL},{names.COMPONENT_LABEL}={names.COMPONENT}"
_AT_ONCE = 16
_SECONDS = 3.0  # for one pod


@dataclass(frozen=True)
class Round:
    """InferenceServices and their pods' scrapes by uid; `missed`: how many pods of each did not answer."""

    isvcs: Sequence[Object]
    scrapes: Mapping[Key, Mapping[str, Scrape]]
    missed: Mapping[Key, int] = field(default_factory=dict)
    why: str = ""  # the last reason for which a pod did not answer


async def look(client: Client, namespace: str | None) -> Round:
    """One round over a namespace, or all. Raises ApiError, ConnectionFailed where lists cannot be read."""
    isvcs, pods = await asyncio.gather(
        client.list(_INFERENCE_SERVICES, namespace=namespace),
        client.list(PODS, namespace=namespace, label_selector=_SELECTOR),
    )
    limit = asyncio.Semaphore(_AT_ONCE)
    running = [pod for pod in pods.items if model_runs(pod) and not is_terminating(pod)]
    found = await asyncio.gather(*(_scrape(client, pod, limit) for pod in running))
    scrapes: dict[Key, dict[str, Scrape]] = {}
    missed: dict[Key, int] = {}
    why = ""
    for pod, scrape in zip(running, found, strict=True):
        key = Key(pod["metadata"]["namespace"], pod["metadata"]["labels"][names.INFERENCE_SERVICE_LABEL])
        if isinstance(scrape, Scrape):
            scrapes.setdefault(key, {})[pod["metadata"]["uid"]] = scrape
        else:
            missed[key] = missed.get(key, 0) + 1
            why = scrape
    return Round(isvcs.items, scrapes, missed, why)


async def _scrape(client: Client, pod: Object, limit: asyncio.Semaphore) -> Scrape | str:
    """The scrape, or why there is none."""
    key = Key(pod["metadata"]["namespace"], pod["metadata"]["name"])
    annotations = pod["metadata"].get("annotations") or {}
    port = annotations.get("prometheus.io/port") or "8080"
    path = annotations.get("prometheus.io/path") or "/metrics"
    async with limit:
        try:
            status, body = await client.through(PODS, key, path, port=port, seconds=_SECONDS)
        except ApiError as error:
            return error.message or str(error)
        except ConnectionFailed as error:
            return str(error)
        at = time.monotonic()
    if status != 200:
        return f"{path} is answered with {status}"
    return Scrape(at, parse(body.decode(errors="replace")))
