"""What reviews are judged with: copies of the cluster's objects that informers keep, never a question."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from stoker.kube.client import Client
from stoker.kube.informer import Informer
from stoker.kube.resource import NAMESPACES, NODES, Key, Object, Resource
from stoker.serving import names
from stoker.serving.settings import Settings
from webhook import devices, usage
from webhook.catalogue import CLUSTER_SERVING_RUNTIMES, SERVING_RUNTIMES, Catalogue
from webhook.review import CLUSTER_RUNTIMES, INFERENCE_SERVICES, RUNTIMES, Review, Rules

_GROUP, _VERSION = names.INFERENCE_SERVICE_VERSION.split("/")
_SERVICES = Resource(_GROUP, _VERSION, INFERENCE_SERVICES, names.INFERENCE_SERVICE_KIND)

# A runtime and the InferenceService that needs it come in one file, a few milliseconds apart: the second
# may be reviewed before the watch has told of the first.
MOMENT_SECONDS = 0.3


class Caches:
    """The informers and what is made of them. `rules_for` is all that a review asks."""

    def __init__(
        self,
        client: Client,
        settings: Settings,
        args_schemas: Mapping[str, Object],
        on_runtimes: Callable[[int, int], None],
    ) -> None:
        """`on_runtimes`: see Catalogue."""
        self._settings = settings
        self._args_schemas = args_schemas
        self.catalogue = Catalogue(on_runtimes)
        self._usage = usage.Usage(self.catalogue.has)
        self._devices = devices.Devices()
        self._namespaces = Informer(client, NAMESPACES, transform=_keep_labels)
        runtimes = [Informer(client, kind) for kind in (SERVING_RUNTIMES, CLUSTER_SERVING_RUNTIMES)]
        for informer in runtimes:
            informer.on_change(self.catalogue.changed)
        services = Informer(client, _SERVICES, transform=usage.keep)
        services.on_change(self._usage.changed)
        nodes = Informer(client, NODES, transform=devices.keep)
        nodes.on_change(self._devices.changed)
        self._informers = [*runtimes, services, nodes, self._namespaces]

    def unsynced(self) -> list[str]:
        """One line for each cache that is not filled yet."""
        waiting = (one.resource.plural for one in self._informers if not one.synced.is_set())
        return [f"the cache of {plural} is not filled yet" for plural in waiting]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep them true beside the body, which begins once all are filled."""
        async with AsyncExitStack() as stack:
            for informer in self._informers:
                await stack.enter_async_context(informer.running())
            for informer in self._informers:
                await informer.synced.wait()
            yield

    def rules_for(self, review: Review) -> Rules:
        """What this review is judged with. Quick: nothing is copied but the list of runtimes."""
        rules = Rules(
            self._settings,
            self.catalogue.usable_in(review.namespace),
            self._args_schemas,
            self._devices.largest,
            self._labels(review.namespace),
        )
        if review.resource not in (RUNTIMES, CLUSTER_RUNTIMES):
            return rules
        users = self._usage.users(Key(review.namespace, review.name))
        return replace(rules, used_by=tuple(map(str, users)))

    async def newer_rules(self, review: Review, rules: Rules) -> Rules | None:
        """Rules with other runtimes than `rules`, where some come within a moment."""
        try:
            async with asyncio.timeout(MOMENT_SECONDS):
                await self.catalogue.other_than(rules.runtimes, review.namespace)
        except TimeoutError:
            return None
        return self.rules_for(review)

    def _labels(self, namespace: str) -> Mapping[str, str]:
        found = self._namespaces.get(Key("", namespace)) if namespace else None
        return {} if found is None else found["metadata"]["labels"]


def _keep_labels(namespace: Object) -> Object:
    metadata = namespace["metadata"]
    kept = {name: metadata.get(name) for name in ("name", "uid", "resourceVersion")}
    return {"metadata": kept | {"labels": metadata.get("labels") or {}}}
