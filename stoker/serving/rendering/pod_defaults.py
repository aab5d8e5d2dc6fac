"""What a predictor's pod gets where neither the user nor the runtime says otherwise.

Safe (Pod Security `restricted`, no API token), and ending and starting as a model needs it. Everything here
can be overridden by writing the field.
"""

from __future__ import annotations

import math

from stoker.serving import names
from stoker.serving.api.reading import Object
from stoker.serving.rendering.arguments import value_of
from stoker.serving.settings import Settings

_DEFAULT_PERIOD = 10  # Kubernetes' own periodSeconds
_DEFAULT_PORT = 8080
_MARGIN = 10  # seconds for the process to exit in after its last stream


def complete_pod(spec: Object, settings: Settings) -> Object:
    """The PodSpec with defaults. Its first container is the one that serves."""
    serving, *others = spec["containers"]
    serving = _complete_serving(serving, settings)
    pod = {
        "automountServiceAccountToken": False,
        # A Service called `vllm` would otherwise set VLLM_PORT in its namespace, and the engine dies of it.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _grace_seconds(serving, settings),
        **spec,
        "containers": [_complete_any(each) for each in (serving, *others)],
        "securityContext": {
            "runAsNonRoot": (spec.get("securityContext") or {}).get("runAsUser") != 0,
            "seccompProfile": {"type": "RuntimeDefault"},
            **(spec.get("securityContext") or {}),
        },
    }
    if spec.get("initContainers"):
        pod["initContainers"] = [_complete_any(each) for each in spec["initContainers"]]
    return pod


def _complete_any(container: Object) -> Object:
    given = container.get("securityContext") or {}
    context = {"capabilities": {"drop": ["ALL"]}, **given}
    if not given.get("privileged"):
        context.setdefault("allowPrivilegeEscalation", False)
    if given.get("runAsUser") == 0:
        context.setdefault("runAsNonRoot", False)  # root was asked for by name
    made = container | {"securityContext": context}
    # The end of the log is then the termination message: status says why a container died.
    made.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    return made


def _complete_serving(container: Object, settings: Settings) -> Object:
    made = dict(container)
    lifecycle = dict(container.get("lifecycle") or {})
    if settings.pre_stop_seconds and not lifecycle.get("preStop"):
        # Proxies go on sending until they have heard that the pod ends.
        lifecycle["preStop"] = {"sleep": {"seconds": settings.pre_stop_seconds}}
    if lifecycle:
        made["lifecycle"] = lifecycle
    startup = container.get("startupProbe")
    if startup and startup.get("failureThreshold") is None:
        period = startup.get("periodSeconds") or _DEFAULT_PERIOD
        made["startupProbe"] = startup | {"failureThreshold": math.ceil(settings.startup_deadline / period)}
    if not container.get("readinessProbe"):
        ports = container.get("ports") or []
        port = ports[0]["containerPort"] if ports else _DEFAULT_PORT
        made["readinessProbe"] = {"tcpSocket": {"port": port}}  # KServe's
    return made


def _grace_seconds(container: Object, settings: Settings) -> int:
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
    usual = Settings()
    for name in ("lame_duck_seconds", "drain_seconds"):
        value = getattr(settings, name)
        if value != getattr(usual, name) and value_of(args, name) is None:
            args.append(f"--{name}={value}")
    return container | {"args": args}


def with_name_variable(container: Object, name: str) -> Object:
    """The container with INFERENCE_SERVICE_NAME in its environment, as KServe gives it to all."""
    env = list(container.get("env") or [])
    if any(each.get("name") == names.NAME_VARIABLE for each in env):
        return container
    return container | {"env": [*env, {"name": names.NAME_VARIABLE, "value": name}]}
