"""The way to the API server: kubernetes_asyncio's transport and authentication, and nothing else of it.

Of that library only `ApiClient.call_api(..., _preload_content=False)` is used. Its typed models cost memory
and time, its Watch spins and mistakes error pages for events, its DynamicClient returns errors as objects,
its default timeout is none. The verbs are in `stoker.kube.verbs`; this is the only file that imports it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import structlog
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.config import list_kube_config_contexts, load_incluster_config, load_kube_config
from kubernetes_asyncio.config.kube_config import KubeConfigLoader

from stoker.kube.calls import Calls, Request
from stoker.kube.errors import ApiError, ConfigInvalid, ConnectionFailed
from stoker.kube.verbs import Client, ObjectList
from stoker.kube.watching import WatchEvent

__all__ = [
    "ApiError",
    "Client",
    "ConfigInvalid",
    "ConnectionConfig",
    "ConnectionFailed",
    "ObjectList",
    "WatchEvent",
    "connect",
]

log = structlog.get_logger()

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TOKEN_FILE = _ACCOUNT / "token"
_NO_NAMESPACE = "default"
_REFRESH_SECONDS = 60.0
_LINE_BUFFER = 2**21
# At DEBUG it logs whole replies, Secrets included.
logging.getLogger("kubernetes_asyncio.client.rest").setLevel(logging.INFO)


@dataclass(frozen=True)
class ConnectionConfig:
    """Which API server, and as whom."""

    kubeconfig: str | None = None
    """A kubeconfig file. None: the pod's service account, else $KUBECONFIG, else ~/.kube/config."""
    user_agent: str = "stoker"
    """Names the program in the server's audit log: "stoker-controller/0.1.0"."""
    field_manager: str = "stoker"
    """Owner of the fields this program applies. Never change it for a program: fields would be orphaned."""


@asynccontextmanager
async def connect(config: ConnectionConfig) -> AsyncIterator[Client]:
    """A client; its connections are closed on leaving. No request is made yet. Raises ConfigInvalid."""
    configuration = Configuration()
    configuration.api_key = {}
    credentials = await _Credentials.load(config.kubeconfig, configuration)
    async with ApiClient(configuration) as api:
        api.user_agent = config.user_agent
        if _is_loopback(configuration.host):
            _ignore_proxy_variables(api)
        yield Client(Calls(_KubernetesTransport(api, credentials)), config.field_manager)


def current_namespace(kubeconfig: str | None) -> str:
    """The namespace that kubectl would use without `-n`: the context's, in a pod its own, else `default`."""
    try:
        if kubeconfig is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
            return (_ACCOUNT / "namespace").read_text().strip() or _NO_NAMESPACE
        _, active = list_kube_config_contexts(_kubeconfig(kubeconfig))
        return str(((active or {}).get("context") or {}).get("namespace") or _NO_NAMESPACE)
    except Exception:  # connecting says what is wrong with the file
        return _NO_NAMESPACE


def _kubeconfig(given: str | None) -> str:
    """A list of files in $KUBECONFIG is merged; "~" is understood."""
    return given or os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")


class _KubernetesTransport:
    """`stoker.kube.calls.Transport` over kubernetes_asyncio's ApiClient."""

    def __init__(self, api: ApiClient, credentials: _Credentials) -> None:
        self._api = api
        self._credentials = credentials

    async def send(self, request: Request, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        reply: aiohttp.ClientResponse = await self._api.call_api(
            request.path,
            request.method,
            query_params=list(request.query.items()),
            header_params={
                "Accept": "application/json",
                "Content-Type": request.content_type,
                **request.headers,
            },
            body=request.body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=timeout,
        )
        return reply

    async def refresh_credentials(self) -> bool:
        return await self._credentials.refresh()


class _Credentials:
    """Keeps the bearer token current: projected tokens are rotated, exec plugins' tokens expire.

    kubernetes_asyncio refreshes only the in-cluster token by itself, by the wall clock.
    """

    def __init__(self, configuration: Configuration, loader: KubeConfigLoader | None) -> None:
        self._configuration = configuration
        self._loader = loader  # None: in a pod
        self._lock = asyncio.Lock()
        self._read_at = asyncio.get_running_loop().time()
        configuration.refresh_api_key_hook = self._refresh_when_old
        self._strip()

    @classmethod
    async def load(cls, kubeconfig: str | None, configuration: Configuration) -> _Credentials:
        try:
            if kubeconfig is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
                load_incluster_config(configuration)
                return cls(configuration, None)
            path = _kubeconfig(kubeconfig)
            loader = await load_kube_config(path, client_configuration=configuration, persist_config=False)
            return cls(configuration, loader)
        except Exception as error:  # it reads YAML, files and what plugins print, and lets all errors out
            where = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config or a service account"
            raise ConfigInvalid(f"cannot read from {where} how to reach Kubernetes: {error}") from error

    async def _refresh_when_old(self, _: Configuration) -> None:
        if asyncio.get_running_loop().time() - self._read_at >= _REFRESH_SECONDS:
            await self.refresh()

    async def refresh(self) -> bool:
        """Read the token anew; true when it is another one. What goes wrong is logged, the old one stays."""
        keys: dict[str, str] = self._configuration.api_key
        before = keys.get("BearerToken")
        async with self._lock:
            if keys.get("BearerToken") != before:
                return True  # another call did it meanwhile
            self._read_at = asyncio.get_running_loop().time()
            try:
                await self._read()
            except Exception as error:  # exec plugins raise what they like
                log.warning("cannot refresh the credentials for Kubernetes", error=str(error))
        return keys.get("BearerToken") != before

    async def _read(self) -> None:
        if self._loader is not None:
            await self._loader.load_and_set(self._configuration)
        else:
            self._configuration.api_key["BearerToken"] = f"Bearer {_mounted_token()}"
        self._strip()

    def _strip(self) -> None:
        """Files end in newlines, which a header must not hold."""
        keys = self._configuration.api_key
        keys.update({name: key.strip() for name, key in keys.items()})


def _mounted_token() -> str:
    if not (token := _TOKEN_FILE.read_text()):  # tmpfs, and 1 KiB: not worth a thread
        raise OSError(f"{_TOKEN_FILE} is empty")
    return token


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ignore_proxy_variables(api: ApiClient) -> None:
    """Never reach this machine through $HTTPS_PROXY: Go's programs do not either, kubectl among them."""
    session = api.rest_client.pool_manager
    api.rest_client.pool_manager = aiohttp.ClientSession(
        connector=session.connector, trust_env=False, read_bufsize=_LINE_BUFFER
    )
    session.detach()
