"""Why a pod does not serve, in words.

Three sources: the pod's status (scheduler and kubelet), the termination message of a container that died,
and the state document that Stoker's runtime serves while it lives and leaves behind when it dies.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stoker.serving import names
from stoker.serving.api.reading import Object

LONGEST_LINE = 500  # characters of a log line or of a kubelet's message that are repeated in status

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
_REASON = re.compile(r"[A-Za-z](?:[A-Za-z0-9_,:]*[A-Za-z0-9_])?")
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


def trouble_of(pod: Object, state: Object | None) -> Trouble | None:
    """What keeps a pod that is not ready from serving; None where it is on its way."""
    name = pod["metadata"]["name"]
    status = pod.get("status") or {}
    words = unschedulable_words(pod)
    if words is not None:
        return Trouble("Unschedulable", words, name)
    if has_ended(pod):
        reason = _word(status.get("reason"), "PodFailed")
        return Trouble(
            reason, _cut(status.get("message") or f"the pod ended in phase {status['phase']}"), name
        )
    for container in _container_statuses(pod):
        trouble = _container_trouble(pod, container)
        if trouble is not None:
            return trouble
    error = _error(state)
    return None if error is None else Trouble(error[0], error[1], name)


def _container_trouble(pod: Object, container: Object) -> Trouble | None:
    name, state = pod["metadata"]["name"], container.get("state") or {}
    waiting = state.get("waiting") or {}
    reason = _WAITING.get(waiting.get("reason") or "")
    if reason is not None:
        message = _BACK_OFF.sub("", waiting.get("message") or "")
        words = f"container {container['name']}: {message or waiting['reason']}"
        if reason == "ImagePullFailed":
            words = f"image {container.get('image') or '?'} cannot be pulled: {message or waiting['reason']}"
        return Trouble(reason, _cut(words), name)
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    if not ended or container.get("ready"):
        return None
    again = "running" in state
    if ended.get("exitCode") == 0 and (again or _may_end(pod, container["name"])):
        return None
    return _crash(pod, container, ended)


def _crash(pod: Object, container: Object, ended: Object) -> Trouble:
    name, code = container["name"], ended.get("exitCode", 0)
    at = ended.get("finishedAt")
    where = pod["metadata"]["name"]
    if ended.get("reason") == "OOMKilled":
        limit = _memory_limit(pod, name)
        over = f"its limit of {limit}" if limit else "its limit"
        words = f"container {name} used more memory than {over} and was killed; raise resources.limits.memory"
        return Trouble("OOMKilled", words, where, code, at)
    left = _document(ended.get("message"))
    error = _error(left)
    if error is not None:
        return Trouble(
            error[0], f"{error[1]} (container {name} ended with exit code {code})", where, code, at
        )
    line = _last_line(ended.get("message"))
    if ended.get("reason") in {"StartError", "ContainerCannotRun"}:
        words = f"the program of container {name} cannot be started: {line or ended['reason']}"
        return Trouble("StartError", _cut(words), where, code, at)
    signal = f" ({_SIGNALS[code]})" if code in _SIGNALS else ""
    words = f"container {name} ended with exit code {code}{signal}{f': {line}' if line else ''}"
    return Trouble("CrashLoopBackOff", _cut(words), where, code, at)


def _document(message: str | None) -> Object | None:
    """The state document that a dying runtime left: the whole termination message, or its last line."""
    for text in (message or "", _last_line(message)):
        if text.lstrip().startswith("{"):
            try:
                found = json.loads(text)
            except ValueError:
                continue
            if isinstance(found, dict):
                return found
    return None


def _error(state: Object | None) -> tuple[str, str] | None:
    """Reason and message of the error in a state document."""
    error = (state or {}).get("error")
    if not isinstance(error, dict) or not error:
        return None
    return _word(error.get("reason"), "ModelLoadFailed"), _cut(
        str(error.get("message") or "the model cannot be loaded")
    )


def _container_statuses(pod: Object) -> Iterator[Object]:
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or []
    yield from sorted(
        status.get("containerStatuses") or [], key=lambda each: each["name"] != names.MODEL_CONTAINER
    )


def _may_end(pod: Object, container: str) -> bool:
    """Whether a container that ended well did what it was for: an init container."""
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


def _last_line(text: str | None) -> str:
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _word(given: Any, default: str) -> str:
    """A condition's reason must be one word; what is none came from a program we do not know."""
    return given if isinstance(given, str) and _REASON.fullmatch(given) and len(given) <= 64 else default


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 3]}..."
