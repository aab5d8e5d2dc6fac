"""Everything the controller knows of the cluster: informers, and one InferenceService's view of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from controller.recent_writes import RecentWrites
from controller.resources import CLUSTER_SERVING_RUNTIMES, INFERENCE_SERVICES, SERVING_RUNTIMES
from stoker.kube.control_loop import ControlLoop
from stoker.kube.informer import Informer
from stoker.kube.resource import (
    CONTROLLER_REVISIONS,
    DEPLOYMENTS,
    NAMESPACES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    SERVICES,
    Key,
    Object,
    Resource,
    key_of,
)
from stoker.kube.verbs import Client
from stoker.serving import names
from stoker.serving.status.pods import is_ready

CHILDREN = (DEPLOYMENTS, SERVICES, CONTROLLER_REVISIONS, POD_DISRUPTION_BUDGETS)
_OWNER = "inferenceservice"  # the index
_MANAGED = f"{names.APP_MANAGED_BY_LABEL}={names.MANAGER}"


@dataclass(frozen=True)
class Admission:
    """What the webhook judges an InferenceService with, beside runtimes and settings."""

    args_schemas: Mapping[str, Object] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """One InferenceService and everything that belongs to it, as last seen. Read-only."""

    obj: Object
    children: dict[Resource, dict[str, Object]]  # of each kind by name, whoever controls them
    pods: list[Object]
    runtimes: Callable[[], list[Object]]  # of its namespace and of the cluster; asked only where needed
    gateway_ready: bool | None  # None: not watched
    admission: Admission = Admission()

    @property
    def key(self) -> Key:
        """The InferenceService's key."""
        return key_of(self.obj)

    def inherited(self) -> Iterable[tuple[Resource, Object]]:
        """What an earlier InferenceService of this name left and the garbage collector has yet to take."""
        for resource, found in self.children.items():
            for obj in found.values():
                owners = obj["metadata"].get("ownerReferences") or []
                if any(_is_earlier(owner, self.obj) for owner in owners):
                    yield resource, obj

    def controls(self, child: Object) -> bool:
        """Whether the object is this very InferenceService's, not that of an earlier one of its name."""
        return controller_uid(child) == str(self.obj["metadata"]["uid"])


class Caches:
    """The informers. `gateway`: namespace and labels of the gateway's pods, where those are watched.

    `args_schemas`: JSON Schemas of runtimes' flags, see `validate_inference_service`.
    """

    def __init__(
        self,
        client: Client,
        gateway: tuple[str, str] | None = None,
        args_schemas: Mapping[str, Object] = {},
    ) -> None:
        self._args_schemas = args_schemas
        self.namespaces = Informer(client, NAMESPACES, transform=_labels_alone)
        self.recent = RecentWrites()
        self.services = Informer(client, INFERENCE_SERVICES)
        self.runtimes = Informer(client, SERVING_RUNTIMES)
        self.cluster_runtimes = Informer(client, CLUSTER_SERVING_RUNTIMES)
        by_owner = {_OWNER: owner_index}
        self.children = {
            each: Informer(client, each, label_selector=_MANAGED, indexers=by_owner) for each in CHILDREN
        }
        self.pods = Informer(
            client, PODS, label_selector=names.INFERENCE_SERVICE_LABEL, indexers=by_owner, transform=_slim
        )
        self.gateway = (
            Informer(client, PODS, namespace=gateway[0], label_selector=gateway[1]) if gateway else None
        )
        for resource, informer in self.children.items():
            informer.on_change(self._forgetter(resource))

    def informers(self) -> list[Informer]:
        """Every one."""
        more = [self.gateway] if self.gateway else []
        return [
            self.services,
            self.runtimes,
            self.cluster_runtimes,
            self.namespaces,
            *self.children.values(),
            self.pods,
            *more,
        ]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the API server beside the body, which starts once every cache is filled."""
        async with AsyncExitStack() as stack:
            for informer in self.informers():
                await stack.enter_async_context(informer.running())
            for informer in self.informers():
                await informer.synced.wait()
            yield

    def unsynced(self) -> list[str]:
        """What still has to be listed."""
        return [
            f"not listed yet: {each.resource.plural}" for each in self.informers() if not each.synced.is_set()
        ]

    def feed(self, loop: ControlLoop) -> None:
        """Let changes become work for the InferenceServices that they concern."""
        loop.watch_for(self.services)
        for informer in (*self.children.values(), self.pods):
            loop.watches(informer, lambda obj: [owner_key(obj)])
        loop.watches(self.runtimes, lambda obj: self._waiting(obj["metadata"]["namespace"]))
        loop.watches(self.cluster_runtimes, lambda _: self._waiting(None))
        if self.gateway is not None:
            self._feed_gateway(loop)

    def view(self, key: Key) -> View | None:
        """What there is for one InferenceService; None where it is gone."""
        cached = self.services.get(key)
        if cached is None:
            return None
        [obj] = self.recent.merge(INFERENCE_SERVICES, key, [cached])
        children = {
            resource: _named(self.recent.merge(resource, key, informer.by_index(_OWNER, str(key))))
            for resource, informer in self.children.items()
        }
        # Pods of an earlier InferenceService of this name may linger; they say nothing of this one.
        born = obj["metadata"]["creationTimestamp"]
        pods = [
            pod
            for pod in self.pods.by_index(_OWNER, str(key))
            if pod["metadata"]["creationTimestamp"] >= born
        ]
        admission = Admission(self._args_schemas, self._namespace_labels(key.namespace))
        return View(
            obj, children, pods, lambda: self._runtimes(key.namespace), self.gateway_ready(), admission
        )

    def gateway_ready(self) -> bool | None:
        """Whether some pod of the gateway takes requests; None where they are not watched."""
        return None if self.gateway is None else any(is_ready(pod) for pod in self.gateway.list())

    def _runtimes(self, namespace: str) -> list[Object]:
        return [*self.runtimes.list(namespace), *self.cluster_runtimes.list()]

    def _namespace_labels(self, namespace: str) -> Mapping[str, str]:
        found = self.namespaces.get(Key("", namespace))
        return {} if found is None else found["metadata"]["labels"]

    def _waiting(self, namespace: str | None) -> Iterable[Key]:
        """InferenceServices that another runtime may help: all others keep the revision they have."""
        for obj in self.services.list(namespace):
            state: Any = (obj.get("status") or {}).get("modelStatus") or {}
            if state.get("transitionStatus") in {None, "", "InvalidSpec"}:
                yield key_of(obj)

    def _feed_gateway(self, loop: ControlLoop) -> None:
        """All of them, but only when the answer changes: a rolling gateway is nobody's business."""
        assert self.gateway is not None
        known = [False]

        def changed(_old: Object | None, _new: Object | None) -> None:
            ready = self.gateway_ready() is True
            if ready != known[0]:
                known[0] = ready
                for obj in self.services.list():
                    loop.queue.add(key_of(obj))

        self.gateway.on_change(changed)

    def _forgetter(self, resource: Resource) -> Callable[[Object | None, Object | None], None]:
        def changed(old: Object | None, new: Object | None) -> None:
            if old is not None and new is None:
                self.recent.seen(resource, owner_key(old), old)

        return changed


def _is_earlier(owner: Object, obj: Object) -> bool:
    """Whether an owner is an InferenceService that had the name before this one."""
    metadata = obj["metadata"]
    named = (owner["kind"], owner["name"]) == (INFERENCE_SERVICES.kind, metadata["name"])
    return named and owner["uid"] != metadata["uid"]


def _named(objects: Iterable[Object]) -> dict[str, Object]:
    return {obj["metadata"]["name"]: obj for obj in objects}


def controller_uid(obj: Object) -> str | None:
    """The uid of what controls the object."""
    owners = obj["metadata"].get("ownerReferences") or []
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), None)


def owner_index(obj: Object) -> Iterable[str]:
    """The InferenceService that an object's labels name."""
    return [str(owner_key(obj))]


def owner_key(obj: Object) -> Key:
    """The InferenceService that an object's labels name."""
    metadata = obj["metadata"]
    labels = metadata.get("labels") or {}
    return Key(metadata.get("namespace") or "", labels.get(names.INFERENCE_SERVICE_LABEL) or "")


def _labels_alone(namespace: Object) -> Object:
    metadata = namespace["metadata"]
    kept = {name: metadata.get(name) for name in ("name", "uid", "resourceVersion")}
    return {"metadata": kept | {"labels": metadata.get("labels") or {}}}


def _slim(pod: Object) -> Object:
    """What is read of a pod: with many pods their specs would be most of the memory."""
    spec = pod.get("spec") or {}
    kept = [
        {"name": each.get("name"), "resources": each.get("resources") or {}}
        for each in spec.get("containers") or []
    ]
    inits = [
        {"name": each.get("name"), "resources": each.get("resources") or {}}
        for each in spec.get("initContainers") or []
    ]
    metadata = {name: value for name, value in pod["metadata"].items() if name != "annotations"}
    return {**pod, "metadata": metadata, "spec": {"containers": kept, "initContainers": inits}}
