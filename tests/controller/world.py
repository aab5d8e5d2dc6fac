"""A real API server with everything around the controller: users, Deployments that make pods, and kubelets.

The API server stores and serves; there is no controller-manager and no node, so what those would do is done
here: pods appear and go as Deployments say, and each pod has the fate that the test gives its revision.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from controller.caches import Caches
from controller.metrics import Metrics
from controller.program import Work
from controller.resources import CLUSTER_SERVING_RUNTIMES, INFERENCE_SERVICES, SERVING_RUNTIMES
from stoker.kube.calls import Calls, Request
from stoker.kube.client import ConnectionConfig, connect
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
)
from stoker.kube.verbs import Client
from stoker.serving.settings import Settings

GPU_MESSAGE = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available."
CHILDREN = (DEPLOYMENTS, SERVICES, CONTROLLER_REVISIONS, POD_DISRUPTION_BUDGETS)

_MAKER = "test.stoker.dev/deployment"  # uid; a pod's owner would be a ReplicaSet, which nobody makes here

Fate = Callable[[Object], Object]
"""From a pod to its status."""


@dataclass
class Wire:
    """Counts what the controller sends, and may cut the wire at the n-th write."""

    inner: Any
    sent: list[str] = field(default_factory=list)
    crash_at: int | None = None
    after_commit: bool = False
    crashed: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, request: Request, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        if self.crashed.is_set():
            raise aiohttp.ClientConnectionError("a dead process sends nothing")
        is_write = request.method != "GET"
        about = f"{request.method} {request.path}"
        # Events are counted apart; lists and watches are the informers', which renew them now and then.
        if "/events" in request.path or request.query.keys() & {"watch", "limit"}:
            return await self.inner.send(request, timeout)  # type: ignore[no-any-return]
        self.sent.append(about)
        dies = is_write and self.crash_at == len(self.writes())
        if dies and not self.after_commit:
            self._die()
        reply = await self.inner.send(request, timeout)
        if dies:
            await reply.read()
            self._die()
        return reply  # type: ignore[no-any-return]

    async def refresh_credentials(self) -> bool:
        return False

    def writes(self) -> list[str]:
        return [each for each in self.sent if not each.startswith("GET ")]

    def _die(self) -> None:
        self.crashed.set()
        raise aiohttp.ClientConnectionError("the process died")


@dataclass
class World:
    """One namespace of the API server, and what happens in it."""

    client: Client  # the user's
    kubeconfig: str
    namespace: str
    fates: dict[str, Fate] = field(default_factory=dict)  # by revision; the others become ready
    log: list[str] = field(default_factory=list)
    metrics: Metrics | None = None  # of the controller that runs, or ran last

    async def apply(self, name: str, *args: str, **predictor: Any) -> Object:
        return await self.client.apply(INFERENCE_SERVICES, isvc(self.namespace, name, *args, **predictor))

    async def service(self, name: str) -> Object:
        return await self.client.get(INFERENCE_SERVICES, Key(self.namespace, name))

    async def status(self, name: str) -> Any:
        return (await self.service(name)).get("status") or {}

    async def condition(self, name: str, kind: str = "Ready") -> Any:
        status = await self.status(name)
        found = [each for each in status.get("conditions", []) if each["type"] == kind]
        return found[0] if found else {}

    async def names(self, resource: Resource) -> list[str]:
        listed = await self.client.list(resource, namespace=self.namespace)
        return sorted(each["metadata"]["name"] for each in listed.items)

    async def pods(self) -> dict[str, list[str]]:
        """Names of pods by revision."""
        found: dict[str, list[str]] = {}
        for pod in (await self.client.list(PODS, namespace=self.namespace)).items:
            if revision := pod["metadata"]["labels"].get("stoker.dev/revision"):
                found.setdefault(revision, []).append(pod["metadata"]["name"])
        return found

    async def ready(self, name: str, revision: int = 1) -> Any:
        """Wait until it is Ready with this revision alone; returns the status."""
        wanted = f"{name}-predictor-{revision:05d}"

        async def rolled_out() -> bool:
            status = await self.status(name)
            obj = await self.service(name)
            current = status.get("observedGeneration") == obj["metadata"]["generation"]
            predictor = status.get("components", {}).get("predictor", {})
            condition = await self.condition(name)
            return bool(
                current
                and condition.get("status") == "True"
                and predictor.get("latestRolledoutRevision") == wanted
            )

        await eventually(rolled_out, lambda: self.describe(name))
        return await self.status(name)

    async def reason(self, name: str, reason: str) -> Any:
        """Wait until Ready has this reason; returns the condition."""

        async def has_reason() -> bool:
            return bool((await self.condition(name)).get("reason") == reason)

        await eventually(has_reason, lambda: self.describe(name))
        return await self.condition(name)

    async def describe(self, name: str) -> str:
        return f"{await self.status(name)} {await self.pods()} {self.log[-20:]}"

    async def quiet(self, wire: Wire, seconds: float = 0.6) -> None:
        """Wait until the controller has sent nothing for a while."""
        count = -1
        while count != len(wire.sent):
            count = len(wire.sent)
            await asyncio.sleep(seconds)

    @asynccontextmanager
    async def controller(
        self,
        settings: Settings | None = None,
        *,
        gateway: str = "",
        crash_at: int | None = None,
        after_commit: bool = False,
    ) -> AsyncIterator[Wire]:
        """The controller at work; what it sends about this namespace is on the wire."""
        config = ConnectionConfig(self.kubeconfig, "test", field_manager="stoker-controller")
        async with connect(config) as direct:
            wire = Wire(direct._calls._transport, crash_at=crash_at, after_commit=after_commit)
            client = Client(Calls(wire), config.field_manager)
            caches = Caches(client, (self.namespace, gateway) if gateway else None)
            work = Work(client, caches, settings or Settings(), Metrics(), "test", state_poll=0.1)
            self.metrics = work.metrics
            async with caches.running():
                wire.sent.clear()  # the lists of the start
                async with work.running():
                    yield wire

    @asynccontextmanager
    async def nodes(self) -> AsyncIterator[None]:
        """Deployments make pods and kubelets run them, beside the body."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self.replicate()
            await asyncio.sleep(0.05)

    async def replicate(self) -> None:
        """One round of ReplicaSets and kubelets."""
        deployments = (await self.client.list(DEPLOYMENTS, namespace=self.namespace)).items
        pods = (await self.client.list(PODS, namespace=self.namespace)).items
        live = {each["metadata"]["name"]: each for each in deployments}
        for name, deployment in live.items():
            mine = [pod for pod in pods if _maker(pod) == deployment["metadata"]["uid"]]
            mine.sort(key=lambda pod: not _is_ready(pod))
            wanted = deployment["spec"]["replicas"]
            for pod in mine[wanted:]:
                await self._end(pod)
            for _ in range(wanted - len(mine)):
                await self._start(name, deployment)
            for pod in mine[:wanted]:
                await self._kubelet(name, pod)
        makers = {each["metadata"]["uid"] for each in deployments}
        for pod in pods:  # the garbage collector: a Deployment of the same name is another's
            if _maker(pod) not in {*makers, None}:  # nobody's: a test's own pod
                await self._end(pod)

    async def _start(self, name: str, deployment: Object) -> None:
        template = deployment["spec"]["template"]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **template["metadata"],
                "annotations": {
                    **(template["metadata"].get("annotations") or {}),
                    _MAKER: deployment["metadata"]["uid"],
                },
                "name": f"{name}-{uuid.uuid4().hex[:5]}",
                "namespace": self.namespace,
            },
            "spec": template["spec"],
        }
        await self.client.create(PODS, pod)
        self.log.append(f"start {name}")

    async def _end(self, pod: Object) -> None:
        await self.client.delete(
            PODS, Key(self.namespace, pod["metadata"]["name"]), uid=pod["metadata"]["uid"]
        )
        self.log.append(f"end {pod['metadata']['labels']['stoker.dev/revision']}")

    async def _kubelet(self, revision: str, pod: Object) -> None:
        status = self.fates.get(revision, ready)(pod)
        now = pod.get("status") or {}
        if any(now.get(name) != value for name, value in status.items()):
            key = Key(self.namespace, pod["metadata"]["name"])
            await self.client.merge_patch(PODS, key, {"status": status}, subresource="status")


def _maker(pod: Object) -> str | None:
    uid: str | None = (pod["metadata"].get("annotations") or {}).get(_MAKER)
    return uid


@asynccontextmanager
async def new_world(kubeconfig: str) -> AsyncIterator[World]:
    """A namespace of its own with the runtime `echo`."""
    namespace = f"test-{uuid.uuid4().hex[:8]}"
    async with connect(ConnectionConfig(kubeconfig, "user", field_manager="user")) as client:
        await client.create(NAMESPACES, {"metadata": {"name": namespace}})
        await client.apply(SERVING_RUNTIMES, runtime(namespace, "echo"))
        world = World(client, kubeconfig, namespace)
        yield world
        for name in await world.names(INFERENCE_SERVICES):
            await client.delete(INFERENCE_SERVICES, Key(namespace, name))
        for name in await world.names(PODS):
            await client.delete(PODS, Key(namespace, name))
        await client.delete(SERVING_RUNTIMES, Key(namespace, "echo"))


async def eventually(
    check: Callable[[], Awaitable[bool]],
    describe: Callable[[], Awaitable[str]] | None = None,
    seconds: float = 20.0,
) -> None:
    """Wait until the check holds; fails with what is so instead."""
    end = asyncio.get_running_loop().time() + seconds
    while not await check():
        if asyncio.get_running_loop().time() > end:
            raise AssertionError(f"never: {check.__name__}: {await describe() if describe else ''}")
        await asyncio.sleep(0.03)


def isvc(namespace: str, name: str, *args: str, **predictor: Any) -> Object:
    model: Object = {"modelFormat": {"name": "huggingface"}, "args": list(args)}
    model |= predictor.pop("model", {})
    return {
        "apiVersion": INFERENCE_SERVICES.api_version,
        "kind": INFERENCE_SERVICES.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"predictor": {"model": model, **predictor}},
    }


def runtime(namespace: str, name: str, **container: Any) -> Object:
    """A ServingRuntime; a ClusterServingRuntime where the namespace is ""."""
    resource = SERVING_RUNTIMES if namespace else CLUSTER_SERVING_RUNTIMES
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name} | ({"namespace": namespace} if namespace else {}),
        "spec": {
            "supportedModelFormats": [{"name": "huggingface", "version": "1", "autoSelect": True}],
            "containers": [
                {
                    "name": "kserve-container",
                    "image": "stoker.dev/runtime:test",
                    "args": ["--model_name={{.Name}}"],
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "resources": {
                        "requests": {"cpu": "0.5", "memory": "1024Mi"},
                        "limits": {"memory": "1Gi"},
                    },
                    **container,
                }
            ],
        },
    }


def ready(pod: Object) -> Object:
    return status_of(pod, ready=True, state={"running": {"startedAt": "2026-01-01T00:00:00Z"}})


def starting(pod: Object) -> Object:
    return status_of(pod, state={"running": {"startedAt": "2026-01-01T00:00:00Z"}})


def crashing(message: str, code: int = 1, reason: str = "Error") -> Fate:
    ended = {"exitCode": code, "reason": reason, "message": message, "finishedAt": "2026-01-01T00:00:05Z"}

    def fate(pod: Object) -> Object:
        waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}
        return status_of(pod, state={"waiting": waiting}, last={"terminated": ended})

    return fate


def unschedulable(message: str, since: str = "2026-01-01T00:00:00Z") -> Fate:
    def fate(pod: Object) -> Object:
        return {
            "phase": "Pending",
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": message,
                    "lastTransitionTime": since,
                }
            ],
        }

    return fate


def status_of(pod: Object, *, state: Object, ready: bool = False, last: Object | None = None) -> Object:
    name = pod["spec"]["containers"][0]["name"]
    container = {
        "name": name,
        "image": pod["spec"]["containers"][0]["image"],
        "imageID": "",
        "ready": ready,
        "restartCount": 1 if last else 0,
        "state": state,
        "lastState": last or {},
    }
    when = {"lastTransitionTime": "2026-01-01T00:00:00Z"}
    return {
        "phase": "Running",
        "conditions": [
            {"type": "PodScheduled", "status": "True", **when},
            {"type": "Ready", "status": "True" if ready else "False", **when},
        ],
        "containerStatuses": [container],
    }


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
