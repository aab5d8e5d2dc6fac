"""Looks at a cluster with read verbs alone. What the account may not read is `Denied`, not an error."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp

from stoker.cli.diagnosis.facts import Answer, Denied, Installation, Served, Unseen
from stoker.cli.diagnosis.installation import CONTROLLER, CRDS, GATEWAY, WEBHOOK
from stoker.kube.errors import ApiError, ConnectionFailed
from stoker.kube.resource import (
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    LEASES,
    PODS,
    SERVICES,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    Key,
    Object,
    Resource,
)
from stoker.kube.verbs import Client
from stoker.serving import names
from stoker.serving.status.pods import answering, is_ready, is_terminating
from stoker.serving.status.times import seconds as instant

_GROUP, _VERSION = names.INFERENCE_SERVICE_VERSION.split("/")
INFERENCE_SERVICES = Resource(_GROUP, _VERSION, "inferenceservices", names.INFERENCE_SERVICE_KIND)
_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
_EVENTS = Resource("", "v1", "events", "Event")  # core/v1: its selectors know uids
_MODELS = "openai/v1/models"
# One token; a model that embeds has no completions, and answers with one of _ANOTHER_TASK.
_TOKENS: Sequence[tuple[str, Object]] = (
    ("openai/v1/completions", {"prompt": "Hello", "max_tokens": 1}),
    ("openai/v1/embeddings", {"input": "Hello"}),
)
_ANOTHER_TASK = frozenset({400, 404, 405, 422})
_AT_ONCE = 8
_FRESH_SECONDS = 12.0  # a Lease is renewed each 2 s; one that looks older is looked at twice
_LOOK_AGAIN_SECONDS = 4.0
_REQUEST_SECONDS = 10.0
_ANSWER_SECONDS = 60.0
_LONGEST = 300  # characters of an answer that are repeated
T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """How requests go: to `gateway` (http://HOST:PORT), else through the API server. `ask`: for a token."""

    namespace: str = "stoker-system"
    gateway: str = ""
    ask: bool = False


async def look_at_installation(client: Client, target: Target) -> Installation:
    """Stoker itself. Raises ConnectionFailed, and ApiError but for 403."""
    where = target.namespace
    crds, deployments, pods, lease, registration = await asyncio.gather(
        _listed(client, CUSTOM_RESOURCE_DEFINITIONS, None),
        _listed(client, DEPLOYMENTS, where),
        _listed(client, PODS, where),
        _read(client, LEASES, Key(where, CONTROLLER)),
        _read(client, VALIDATING_WEBHOOK_CONFIGURATIONS, Key("", "stoker.dev")),
    )
    if not isinstance(crds, Denied):
        crds = [each for each in crds if each["metadata"]["name"] in CRDS]
    if not isinstance(deployments, Denied):
        deployments = [
            each for each in deployments if each["metadata"]["name"] in (CONTROLLER, WEBHOOK, GATEWAY)
        ]
    return Installation(
        where,
        crds,
        deployments,
        pods,
        lease,
        await _moves(client, where, lease),
        registration,
        await _webhook_answer(client, where, registration),
    )


async def find_services(client: Client, namespace: str | None, name: str | None) -> Sequence[Object] | Denied:
    """The InferenceService, or all of a namespace (None: of all). Raises ApiError, ConnectionFailed."""
    if name is not None:
        reading = client.get(INFERENCE_SERVICES, Key(namespace or "", name))
        found = await _allowed(f"inferenceservices {name}", reading)
        return found if isinstance(found, Denied) else [found]
    return await _listed(client, INFERENCE_SERVICES, namespace)


async def look_at_services(
    client: Client, target: Target, found: Sequence[Object], seconds: float
) -> Sequence[Served | Unseen]:
    """Each of them; those that were not looked at within `seconds`, or failed, are Unseen with the reason."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def bounded(isvc: Object) -> Served | Unseen:
        async with limit:
            try:
                return await _served(client, target, isvc)
            except (ApiError, ConnectionFailed) as error:
                return Unseen(isvc, _words(error))

    tasks = [asyncio.create_task(bounded(isvc)) for isvc in found]
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
    late = [task for task in tasks if not task.done()]
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    unseen = f"{seconds:.0f} s were over before it was its turn"
    return [
        Unseen(isvc, unseen) if task.cancelled() else task.result()
        for isvc, task in zip(found, tasks, strict=True)
    ]


async def _served(client: Client, target: Target, isvc: Object) -> Served:
    namespace, name = isvc["metadata"]["namespace"], isvc["metadata"]["name"]
    mine = f"{names.INFERENCE_SERVICE_LABEL}={name}"
    service = f"kubernetes.io/service-name={names.service_name(name)}"
    pods, deployments, slices = await asyncio.gather(
        _listed(client, PODS, namespace, f"{mine},{names.COMPONENT_LABEL}={names.COMPONENT}"),
        _listed(client, DEPLOYMENTS, namespace, mine),
        _listed(client, _SLICES, namespace, service),
    )
    seen: Sequence[Object] = [] if isinstance(pods, Denied) else pods
    unready = [pod for pod in seen if not is_ready(pod) and not is_terminating(pod)][:_AT_ONCE]
    states = await asyncio.gather(*(_state(client, pod) for pod in unready))
    events = await asyncio.gather(*(_said(client, pod) for pod in unready))
    uids = [pod["metadata"]["uid"] for pod in unready]
    url = str((isvc.get("status") or {}).get("url") or "")
    wanted = bool(url) and (isinstance(pods, Denied) or any(map(is_ready, pods)))
    return Served(
        isvc,
        pods,
        deployments,
        slices,
        {uid: state for uid, state in zip(uids, states, strict=True) if state is not None},
        dict(zip(uids, events, strict=True)),
        await _answer(client, target, url) if wanted else None,
        target.namespace,
        target.gateway,
    )


async def _allowed(what: str, reading: Awaitable[T]) -> T | Denied:
    """What was read; Denied on 403. Other refusals are raised."""
    try:
        return await reading
    except ApiError as error:
        if error.status == 403:
            return Denied(f"{what}: {error.message}")
        raise


async def _listed(
    client: Client, resource: Resource, namespace: str | None, selector: str = ""
) -> Sequence[Object] | Denied:
    async def items() -> Sequence[Object]:
        return (await client.list(resource, namespace=namespace, label_selector=selector)).items

    return await _allowed(resource.plural, items())


async def _read(client: Client, resource: Resource, key: Key) -> Object | Denied | None:
    try:
        return await _allowed(f"{resource.plural} {key}", client.get(resource, key))
    except ApiError as error:
        if error.is_not_found:
            return None
        raise


async def _moves(client: Client, namespace: str, lease: Object | Denied | None) -> bool:
    """Whether somebody renews the Lease. This machine's clock may be wrong, so an old one is read twice."""
    if lease is None or isinstance(lease, Denied) or not lease["spec"].get("holderIdentity"):
        return False
    renewed = lease["spec"].get("renewTime")
    if abs(time.time() - instant(renewed)) < _FRESH_SECONDS:
        return True
    await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    later = await _read(client, LEASES, Key(namespace, CONTROLLER))
    return isinstance(later, dict) and later["spec"].get("renewTime") != renewed


async def _webhook_answer(
    client: Client, namespace: str, registration: Object | Denied | None
) -> Answer | Denied | None:
    """Whether API servers reach it: any answer over TLS says so, that of an unknown page too."""
    if not isinstance(registration, dict):
        return None
    configs = [each.get("clientConfig") or {} for each in registration.get("webhooks") or []]
    if not any("service" in each for each in configs):
        return None  # a process on some host, which this machine need not reach
    try:
        answer = client.through(SERVICES, Key(namespace, WEBHOOK), "healthz", port="https", scheme="https")
        found = await _allowed("services/proxy", answer)
    except ApiError as error:
        # The webhook's own errors are Statuses too; those of the API server say which object they are about.
        answered = error.status < 500 and not error.details
        return Answer(error.status) if answered else Answer(0, _words(error))
    except ConnectionFailed as error:
        return Answer(0, _words(error))
    return found if isinstance(found, Denied) else Answer(found[0])


async def _state(client: Client, pod: Object) -> Object | None:
    """The runtime's state document, for a pod that runs."""
    if answering(pod) is None:
        return None
    key = Key(pod["metadata"]["namespace"], pod["metadata"]["name"])
    try:
        status, body = await client.through(PODS, key, "stoker/v1/state", port="8080", seconds=2.0)
        found = json.loads(body) if status == 200 else None
    except (ApiError, ConnectionFailed, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("phase"), str) else None


async def _said(client: Client, pod: Object) -> Sequence[Object]:
    """The pod's events; none where they may not be read."""
    selector = f"involvedObject.uid={pod['metadata']['uid']}"
    try:
        namespace = pod["metadata"]["namespace"]
        return (await client.list(_EVENTS, namespace=namespace, field_selector=selector)).items
    except ApiError:
        return ()


async def _answer(client: Client, target: Target, url: str) -> Answer | Denied:
    """What a client of this URL gets: its models and, where wanted, one token (or a vector)."""
    began, asked, status, body = time.monotonic(), f"GET {url}/{_MODELS}", 0, b""
    host = urlsplit(url).netloc
    try:
        status, body = await _sent(client, target, host, _MODELS, None)
        if status == 200 and target.ask:
            model = json.loads(body)["data"][0]["id"]
            for path, prompt in _TOKENS:
                asked = f"POST {url}/{path}"
                status, body = await _sent(client, target, host, path, {"model": model, **prompt})
                if status not in _ANOTHER_TASK:
                    break
    except ApiError as error:
        if error.status == 403:
            return Denied(f"services/proxy: {error.message}")
        return Answer(0, _words(error), asked=asked)
    except (ConnectionFailed, aiohttp.ClientError, TimeoutError, OSError) as error:
        return Answer(0, _words(error), asked=asked)
    except (ValueError, LookupError, TypeError):
        return Answer(status, "the list of models cannot be read", asked=asked)
    words, code = _said_by(body) if status != 200 else ("", "")
    return Answer(status, words, time.monotonic() - began, code, asked)


async def _sent(
    client: Client, target: Target, host: str, path: str, body: Object | None
) -> tuple[int, bytes]:
    seconds = _REQUEST_SECONDS if body is None else _ANSWER_SECONDS
    if not target.gateway:
        key = Key(target.namespace, GATEWAY)
        headers = {"Host": host}
        return await client.through(
            SERVICES, key, path, port="http", headers=headers, body=body, seconds=seconds
        )
    timeout = aiohttp.ClientTimeout(total=seconds)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        method, url = "GET" if body is None else "POST", f"{target.gateway}/{path}"
        async with session.request(method, url, json=body, headers={"Host": host}) as reply:
            return reply.status, await reply.read()


def _said_by(body: bytes) -> tuple[str, str]:
    """The message and code of an OpenAI error, else what stands there and ""."""
    try:
        found = json.loads(body)["error"]
        said, code = found["message"], str(found.get("code") or "")
    except (ValueError, LookupError, TypeError, AttributeError):
        said, code = body.decode(errors="replace"), ""
    return " ".join(str(said).split())[:_LONGEST], code


def _words(error: BaseException) -> str:
    said = error.message if isinstance(error, ApiError) else str(error)
    return " ".join(said.split())[:_LONGEST] or type(error).__name__
