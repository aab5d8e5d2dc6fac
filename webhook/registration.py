"""The ValidatingWebhookConfiguration: what API servers ask the webhook, and how they reach and trust it.

It is applied only once the webhook answers TLS with a certificate that the new caBundle trusts, found out by
a real handshake: a registration that points at nothing would refuse every write of our kinds. It is never
removed at exit, since a restart would then be a time without rules. Its owner is the webhook's namespace,
so that uninstalling by deleting the namespace leaves no registration without a webhook behind.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

import structlog

from stoker.kube.client import ApiError, Client
from stoker.kube.difference import covers
from stoker.kube.resource import NAMESPACES, VALIDATING_WEBHOOK_CONFIGURATIONS, Key, Object
from stoker.serving import names
from webhook.certificates import Certificate, fingerprints
from webhook.review import CLUSTER_RUNTIMES, INFERENCE_SERVICES, RUNTIMES

log = structlog.get_logger()

NAME = "stoker.dev"
WEBHOOK = "validate.stoker.dev"
WARNER = "warn.stoker.dev"
PATH = "/validate"
# The API server adds all of it to a write that hits a dead webhook; the server's own deadline is shorter.
TIMEOUT_SECONDS = 2
SERVICE_TRIES = 15

# Evaluated inside the API server, so that these hold while the webhook is down: an object under deletion
# loses its finalizers, and whoever touches neither spec, labels nor annotations need not ask.
MATCH_CONDITIONS = (
    {"name": "not-being-deleted", "expression": "!has(object.metadata.deletionTimestamp)"},
    {
        "name": "changes-what-is-judged",
        "expression": "request.operation != 'UPDATE'"
        " || object.?spec != oldObject.?spec"
        " || object.metadata.?labels.orValue({}) != oldObject.metadata.?labels.orValue({})"
        " || object.metadata.?annotations.orValue({}) != oldObject.metadata.?annotations.orValue({})",
    },
)

# A deletion is never refused, so nobody waits for long to hear who still uses a runtime, and programs, which
# do not read warnings, do not wait at all: deleting a namespace asks nothing here.
WARNER_SECONDS = 1
WARNER_CONDITIONS = (
    {
        "name": "asked-by-a-person",
        "expression": "!request.userInfo.username.startsWith('system:serviceaccount:')",
    },
)


class NotServed(Exception):
    """The webhook does not answer TLS as the registration would promise."""


@dataclass(frozen=True)
class Reach:
    """How API servers reach the webhook: through a Service, or, with `url`, as a process on some host."""

    service: Key
    url: str = ""
    """https://HOST:PORT; "" for the Service."""

    @property
    def names(self) -> tuple[str, ...]:
        """Host names and addresses that the leaf must be valid for."""
        if self.url:
            return (urlsplit(self.url).hostname or "",)
        # API servers ask for the .svc form whatever the cluster's domain is.
        return (f"{self.service.name}.{self.service.namespace}.svc",)

    def client_config(self, bundle: bytes) -> Object:
        """`clientConfig` of the registration."""
        trust = {"caBundle": base64.b64encode(bundle).decode()}
        if self.url:
            return trust | {"url": self.url.rstrip("/") + PATH}
        service = {"namespace": self.service.namespace, "name": self.service.name, "path": PATH, "port": 443}
        return trust | {"service": service}


def registration(reach: Reach, bundle: bytes, owner: Object | None) -> Object:
    """The whole object to apply. `owner`: the Namespace that it goes away with, where there is one."""
    metadata: Object = {
        "name": NAME,
        "labels": {names.APP_NAME_LABEL: "stoker-webhook", names.APP_PART_OF_LABEL: "stoker"},
    }
    if owner is not None:
        metadata["ownerReferences"] = [
            {
                "apiVersion": NAMESPACES.api_version,
                "kind": NAMESPACES.kind,
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
            }
        ]
    return {
        "apiVersion": VALIDATING_WEBHOOK_CONFIGURATIONS.api_version,
        "kind": VALIDATING_WEBHOOK_CONFIGURATIONS.kind,
        "metadata": metadata,
        "webhooks": [_validating(reach.client_config(bundle)), _warning(reach.client_config(bundle))],
    }


def _validating(client_config: Object) -> Object:
    rules = [
        _rule(names.INFERENCE_SERVICE_VERSION, "Namespaced", INFERENCE_SERVICES),
        _rule(names.RUNTIME_VERSION, "Namespaced", RUNTIMES),
        _rule(names.RUNTIME_VERSION, "Cluster", CLUSTER_RUNTIMES),
    ]
    return _webhook(WEBHOOK, client_config, rules, MATCH_CONDITIONS) | {
        "failurePolicy": "Fail",
        "timeoutSeconds": TIMEOUT_SECONDS,
    }


def _warning(client_config: Object) -> Object:
    """An entry of its own, because it may be passed over: no deletion waits for a webhook that is down."""
    rules = [
        _rule(names.RUNTIME_VERSION, "Namespaced", RUNTIMES, "DELETE"),
        _rule(names.RUNTIME_VERSION, "Cluster", CLUSTER_RUNTIMES, "DELETE"),
    ]
    return _webhook(WARNER, client_config, rules, WARNER_CONDITIONS) | {
        "failurePolicy": "Ignore",
        "timeoutSeconds": WARNER_SECONDS,
    }


def _webhook(
    name: str, client_config: Object, rules: Sequence[Object], conditions: Sequence[Mapping[str, str]]
) -> Object:
    return {
        "name": name,
        "clientConfig": client_config,
        "rules": list(rules),
        "matchConditions": [dict(condition) for condition in conditions],
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }


class Registrar:
    """Keeps the live registration as it should be, and knows since when it has trusted which authority."""

    def __init__(
        self,
        client: Client,
        reach: Reach,
        local: tuple[str, int],
        *,
        clock: Callable[[], datetime],
        writes: bool = True,
    ) -> None:
        """`local`: host and port where this process serves TLS. Without `writes` it only looks."""
        self._client = client
        self._reach = reach
        self._local = local
        self._clock = clock
        self._writes = writes
        self._since: dict[str, datetime] = {}

    @property
    def since(self) -> Mapping[str, datetime]:
        """By fingerprint of the authority: when this process first saw it trusted, without a gap since."""
        return self._since

    async def look(self) -> Object | None:
        """The live registration. Raises ApiError, ConnectionFailed."""
        try:
            live = await self._client.get(VALIDATING_WEBHOOK_CONFIGURATIONS, Key("", NAME))
        except ApiError as error:
            if not error.is_not_found:
                raise
            live = None
        self._note(live)
        return live

    async def register(self, live: Object | None, bundle: bytes, leaf: Certificate) -> bool:
        """Apply where `live` differs; whether it was applied.

        Raises NotServed where the webhook does not serve `leaf` yet, ApiError, ConnectionFailed.
        """
        if not self._writes:
            return False
        wanted = registration(self._reach, bundle, await self._owner())
        if live is not None and covers(live, wanted):
            return False
        await check_served(self._local, self._reach.names[0], bundle, leaf)
        if live is None and not self._reach.url:
            await self._await_service(bundle, leaf)
        self._note(await self._client.apply(VALIDATING_WEBHOOK_CONFIGURATIONS, wanted))
        log.info("registered with the API server", registration=NAME, trusted=sorted(fingerprints(bundle)))
        return True

    async def _await_service(self, bundle: bytes, leaf: Certificate) -> None:
        """Before the first registration: give the Service time to lead here, as far as can be seen from here.

        A registration in front of a Service without endpoints refuses writes for seconds. Many networks do
        not lead a pod's call of its own Service back to it, so that this is a courtesy and no condition.
        """
        server_name = self._reach.names[0]
        for _ in range(SERVICE_TRIES):
            try:
                await check_served((server_name, 443), server_name, bundle, leaf)
            except NotServed as fault:
                log.debug("the Service does not lead here yet", reason=str(fault))
                await asyncio.sleep(1)
            else:
                return
        log.info("registering without having seen the Service lead here", service=str(self._reach.service))

    async def _owner(self) -> Object | None:
        try:
            return await self._client.get(NAMESPACES, Key("", self._reach.service.namespace))
        except ApiError as error:
            # As a process beside a cluster there need not be such a namespace, nor the right to read it.
            if error.is_not_found or error.status == 403:
                return None
            raise

    def _note(self, live: Object | None) -> None:
        trusted = _trusted(live)
        now = self._clock()
        self._since = {one: self._since.get(one, now) for one in trusted}


async def check_served(address: tuple[str, int], server_name: str, bundle: bytes, leaf: Certificate) -> None:
    """One TLS handshake as an API server would do it. Raises NotServed where it ends otherwise."""
    context = ssl.create_default_context(cadata=bundle.decode())
    host, port = address
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=server_name)
    except (OSError, TimeoutError) as fault:
        why = str(fault) or type(fault).__name__
        raise NotServed(f"no TLS as {server_name} at {host}:{port}: {why}") from fault
    try:
        served = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    if served != ssl.PEM_cert_to_DER_cert(leaf.pem.decode()):
        raise NotServed(f"{host}:{port} serves another certificate than the newest")


def _trusted(live: Object | None) -> frozenset[str]:
    webhooks: Sequence[Object] = (live or {}).get("webhooks") or []
    for webhook in webhooks:
        if webhook["name"] == WEBHOOK:
            return fingerprints(base64.b64decode(webhook["clientConfig"].get("caBundle") or ""))
    return frozenset()


def _rule(api_version: str, scope: str, plural: str, *operations: str) -> Object:
    group, version = api_version.split("/")
    return {
        "apiGroups": [group],
        "apiVersions": [version],
        "operations": list(operations or ("CREATE", "UPDATE")),
        "resources": [plural],
        "scope": scope,
    }
