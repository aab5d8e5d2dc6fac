"""Why a pod does not serve, in words.

Four sources: the pod's status (scheduler and kubelet), the termination message of a container that died, the
state document that Stoker's runtime serves while it lives and leaves behind when it dies, and the kubelet's
events, for what none of these holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stoker.serving import names
from stoker.serving.api.reading import Object
from stoker.serving.status.last_words import cut, document, error, last_line, word
from stoker.serving.status.pod_events import Said, has_sandbox

# Of a container that waits. Kubernetes alternates between two names for one trouble; a status must not.
_WAITING = {
    "ErrImagePull": "ImagePullFailed",
    "ImagePullBackOff": "ImagePullFailed",
    "ErrImageNeverPull": "ImagePullFailed",
    "RegistryUnavailable": "ImagePullFailed",
    "ImageInspectError": "ImagePullFailed",
    "InvalidImageName": "InvalidImageName",
    "CreateContainerConfigError": "CreateContainerConfigError",
    "CreateContainerError": "CreateContainerError",
    "RunContainerError": "CreateContainerError",
    "PreCreateHookError": "CreateContainerError",
    "PostStartHookError": "PostStartHookError",
}
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"(?:: )?(?:ErrImagePull: )?')
_PROBES = {"StartupProbeFailed": "startup", "LivenessProbeFailed": "liveness"}
# Why a pod's containers are not made, by events alone.
_UNMADE = {
    "FailedMount": "a volume cannot be mounted",
    "FailedCreatePodSandBox": "the pod's sandbox cannot be made",
}
_SIGNALS = {
    132: "SIGILL",
    134: "SIGABRT",
    135: "SIGBUS",
    136: "SIGFPE",
    137: "SIGKILL",
    139: "SIGSEGV",
    143: "SIGTERM",
}


@dataclass(frozen=True)
class Trouble:
    """Why a pod does not serve. `reason`: one word of a fixed set, or the runtime's own reason code."""

    reason: str
    message: str
    pod: str = ""
    exit_code: int | None = None
    time: str | None = None  # when it happened, RFC 3339


def trouble_of(pod: Object, state: Object | None, said: Sequence[Said] = ()) -> Trouble | None:
    """What keeps a pod that is not ready from serving; None where it is on its way.

    `said`: what its events say, where they were asked.
    """
    name = pod["metadata"]["name"]
    status = pod.get("status") or {}
    words = unschedulable_words(pod)
    if words is not None:
        return Trouble("Unschedulable", words, name)
    if has_ended(pod):
        reason = word(status.get("reason"), "PodFailed")
        message = cut(status.get("message") or f"the pod ended in phase {status['phase']}")
        return Trouble(reason, message, name, time=status.get("startTime"))
    for container in _container_statuses(pod):
        trouble = _container_trouble(pod, container, said)
        if trouble is not None:
            return trouble
    for each in said:
        if each.reason in _UNMADE and not has_sandbox(pod):
            return Trouble(each.reason, f"{_UNMADE[each.reason]}: {each.message}", name)
    found = error(state)
    return None if found is None else Trouble(found[0], found[1], name)


def _container_trouble(pod: Object, container: Object, said: Sequence[Said]) -> Trouble | None:
    name, state = pod["metadata"]["name"], container.get("state") or {}
    waiting = state.get("waiting") or {}
    reason = _WAITING.get(waiting.get("reason") or "")
    if reason is not None:
        message = _BACK_OFF.sub("", waiting.get("message") or "")
        words = f"{_called(pod, container['name'])}: {message or waiting['reason']}"
        if reason == "ImagePullFailed":
            words = f"image {container.get('image') or '?'} cannot be pulled: {message or waiting['reason']}"
        return Trouble(reason, cut(words), name)
    if container.get("ready"):
        return None
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    killed = _killed_by_probe(container, said)
    if killed is None and not ended:
        return None
    if killed is None and ended and ended.get("exitCode") == 0 and _is_init(pod, container["name"]):
        return None
    return _crash(pod, container, ended or {}, killed)


def _killed_by_probe(container: Object, said: Sequence[Said]) -> Said | None:
    """What events say of a probe that ended this container's run, or the one before."""
    restarts = int(container.get("restartCount") or 0)
    for each in said:
        # One restart later the events were not asked again yet: what was so is still the best guess.
        if each.reason in _PROBES and each.container == container["name"] and restarts - each.restarts <= 1:
            return each
    return None


def _crash(pod: Object, container: Object, ended: Object, killed: Said | None) -> Trouble:
    name, code = container["name"], ended.get("exitCode")
    called, at, where = _called(pod, container["name"]), ended.get("finishedAt"), pod["metadata"]["name"]
    if ended.get("reason") == "OOMKilled":
        limit = _memory_limit(pod, name)
        over = f"its limit of {limit}" if limit else "its limit"
        words = f"{called} used more memory than {over} and was killed; raise resources.limits.memory"
        return Trouble("OOMKilled", words, where, code, at)
    found = error(document(ended.get("message")))
    if found is not None:
        return Trouble(found[0], f"{found[1]} ({called} ended with exit code {code})", where, code, at)
    line = last_line(ended.get("message"))
    signal = f" ({_SIGNALS[code]})" if code in _SIGNALS else ""
    if killed is not None:
        probe = _PROBES[killed.reason]
        words = f"{called} is ended because its {probe} probe fails: {killed.message}"
        return Trouble(killed.reason, cut(words), where, code, at)
    if ended.get("reason") in {"StartError", "ContainerCannotRun"}:
        words = f"the program of {called} cannot be started: {line or ended['reason']}"
        return Trouble("StartError", cut(words), where, code, at)
    words = f"{called} ended with exit code {code}{signal}{f': {line}' if line else ''}"
    return Trouble("CrashLoopBackOff", cut(words), where, code, at)


def _container_statuses(pod: Object) -> Iterator[Object]:
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or []
    yield from sorted(
        status.get("containerStatuses") or [], key=lambda each: each["name"] != names.MODEL_CONTAINER
    )


def _called(pod: Object, container: str) -> str:
    return f"{'init ' if _is_init(pod, container) else ''}container {container}"


def _is_init(pod: Object, container: str) -> bool:
    """Whether it is an init container: one that ended well did what it was for."""
    return any(each.get("name") == container for each in pod["spec"].get("initContainers") or [])


def _memory_limit(pod: Object, container: str) -> str | None:
    every = [*(pod["spec"].get("containers") or []), *(pod["spec"].get("initContainers") or [])]
    limits = [
        (each.get("resources") or {}).get("limits") or {} for each in every if each.get("name") == container
    ]
    return next((str(each["memory"]) for each in limits if "memory" in each), None)


def has_ended(pod: Object) -> bool:
    """Whether the pod will never run again: evicted, or its node's shutdown ended it. It was replaced."""
    return (pod.get("status") or {}).get("phase") in {"Failed", "Succeeded"}


def unschedulable_words(pod: Object) -> str | None:
    """The scheduler's words, where it found no node."""
    found = condition(pod, "PodScheduled")
    if found is None or found.get("status") != "False" or found.get("reason") != "Unschedulable":
        return None
    return found.get("message") or "no node fits the pod"


def condition(pod: Object, kind: str) -> Object | None:
    """The pod's condition of that type."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each.get("type") == kind), None)
