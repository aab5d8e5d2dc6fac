"""What a predictor's pod gets where neither the user nor the runtime says otherwise.

Everything here is overridden by writing the field. Containers of Stoker's own image get what is best; those
of another image, whose needs are not known, only what cannot break them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from stoker.serving import names
from stoker.serving.api.reading import Object
from stoker.serving.rendering.arguments import value_of
from stoker.serving.rendering.shared_memory import with_shared_memory
from stoker.serving.settings import Settings

_DEFAULT_PERIOD = 10  # Kubernetes' own periodSeconds
_DEFAULT_PORT = 8080
_MARGIN = 10  # seconds for the process to exit in after its last stream
_USUAL = Settings()
_HANDLERS = ("exec", "grpc", "httpGet", "tcpSocket")


def complete_pod(spec: Object, settings: Settings, own: Collection[str]) -> Object:
    """The PodSpec with defaults. Its first container serves; `own` names those of Stoker's own image."""
    spec = with_shared_memory(spec, settings)
    serving, *others = spec["containers"]
    serving = with_pre_stop(serving, settings, spec.get("terminationGracePeriodSeconds"))
    serving = with_probes(serving, settings)
    containers = [serving, *others]
    starting = spec.get("initContainers") or []

    def strict(container: Object) -> bool:
        return settings.pod_security == "restricted" or container.get("name") in own

    known = all(map(strict, [*containers, *starting]))  # nothing in the pod may need more than it says
    pod: Object = {}
    if known or not (spec.get("serviceAccountName") or spec.get("serviceAccount")):
        # Who names an account for an image of their own may well mean its token.
        pod["automountServiceAccountToken"] = False
    pod |= {
        # A Service called `vllm` would otherwise set VLLM_PORT in its namespace, and the engine dies of it.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds(serving, settings),
        **spec,
        "securityContext": _pod_security(spec.get("securityContext") or {}, strict=known),
        "containers": [_complete_any(each, strict=strict(each)) for each in containers],
    }
    if starting:
        pod["initContainers"] = [_complete_any(each, strict=strict(each)) for each in starting]
    return pod


def _pod_security(given: Object, *, strict: bool) -> Object:
    # What container engines apply by themselves, and Kubernetes does not.
    context: Object = {"seccompProfile": {"type": "RuntimeDefault"}}
    if strict:
        context = {"runAsNonRoot": given.get("runAsUser") != 0} | context
    return context | given


def _complete_any(container: Object, *, strict: bool) -> Object:
    # The end of the log is then the termination message: status says why a container died.
    made = dict(container)
    made.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    given = container.get("securityContext") or {}
    if not strict:
        return made
    context = {"capabilities": {"drop": ["ALL"]}} | given
    if not given.get("privileged"):
        context.setdefault("allowPrivilegeEscalation", False)
    if given.get("runAsUser") == 0:
        context.setdefault("runAsNonRoot", False)  # root was asked for by name
    return made | {"securityContext": context}


def with_pre_stop(container: Object, settings: Settings, grace: int | None) -> Object:
    """The container with a sleep before its end: proxies go on sending until they heard that the pod ends.

    `grace`: terminationGracePeriodSeconds as somebody wrote it; the API server wants a shorter sleep.
    """
    lifecycle = container.get("lifecycle") or {}
    seconds = settings.pre_stop_seconds if grace is None else min(settings.pre_stop_seconds, grace // 2)
    if seconds <= 0 or lifecycle.get("preStop"):
        return container
    return container | {"lifecycle": lifecycle | {"preStop": {"sleep": {"seconds": seconds}}}}


def with_spread(spec: Object, labels: Mapping[str, str]) -> Object:
    """The PodSpec whose constraints without labelSelector spread its own pods: they would match none."""
    constraints = spec.get("topologySpreadConstraints")
    if not constraints:
        return spec
    selector = {"labelSelector": {"matchLabels": dict(labels)}}
    return spec | {"topologySpreadConstraints": [selector | each for each in constraints]}


def with_probes(container: Object, settings: Settings) -> Object:
    """The container with a readiness probe, and a startup probe that lasts as long as a model may load.

    Readiness is KServe's where none is given: the port of requests accepts connections. A liveness probe
    without startup probe would end a container that loads its model: it is asked patiently at the start too.
    """
    made = dict(container)
    startup, liveness = container.get("startupProbe"), container.get("livenessProbe")
    if not startup and liveness:
        same = (*_HANDLERS, "periodSeconds", "timeoutSeconds")
        startup = {name: liveness[name] for name in same if name in liveness}
    if startup:
        period = startup.get("periodSeconds") or _DEFAULT_PERIOD
        enough = {"failureThreshold": math.ceil(settings.startup_deadline / period)}
        made["startupProbe"] = startup if startup.get("failureThreshold") is not None else startup | enough
    if not container.get("readinessProbe"):
        made["readinessProbe"] = {"tcpSocket": {"port": _serving_port(container)}}
    return made


def _serving_port(container: Object) -> int:
    """Where requests go: the port called http, else the first one."""
    ports = sorted(container.get("ports") or [], key=lambda port: port.get("name") != "http")
    return ports[0]["containerPort"] if ports else _DEFAULT_PORT


def grace_seconds(container: Object, settings: Settings) -> int:
    """Until the kubelet kills: the preStop sleep, the drain that the process was told of, and a margin."""
    sleep = ((container.get("lifecycle") or {}).get("preStop") or {}).get("sleep") or {}
    args = container.get("args") or []
    waits = (
        _number(sleep.get("seconds"), 0),
        _number(value_of(args, "lame_duck_seconds"), settings.lame_duck_seconds),
        _number(value_of(args, "drain_seconds"), settings.drain_seconds),
    )
    return math.ceil(sum(waits)) + _MARGIN


def _number(given: object, default: float) -> float:
    try:
        value = float(str(given))
    except ValueError:
        return default
    return value if 0 <= value < 1e9 else default


def with_drain(container: Object, settings: Settings) -> Object:
    """The container of Stoker's own runtime, told of drain times that are not its usual ones."""
    args = list(container.get("args") or [])
    for name in ("lame_duck_seconds", "drain_seconds"):
        value = getattr(settings, name)
        if value != getattr(_USUAL, name) and value_of(args, name) is None:
            args.append(f"--{name}={value}")
    return container | {"args": args}


def with_name_variable(container: Object, name: str) -> Object:
    """The container with INFERENCE_SERVICE_NAME in its environment, as KServe gives it to all."""
    env = list(container.get("env") or [])
    if any(each.get("name") == names.NAME_VARIABLE for each in env):
        return container
    return container | {"env": [*env, {"name": names.NAME_VARIABLE, "value": name}]}
