"""What only the kubelet's events say of a pod: a volume that cannot be mounted, a probe that failed.

A pod's status does not hold these. Events are hints, kept for an hour and merged by the kubelet: what is
read from them is bound to the run of the container that they speak of, so that an old one blames no new run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stoker.serving.api.reading import Object
from stoker.serving.status.last_words import cut
from stoker.serving.status.times import seconds

_VOLUMES = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"})
_SANDBOX = "FailedCreatePodSandBox"
_RECENT_SECONDS = 180.0  # kubelets try again each two minutes at the latest
_MARGIN_SECONDS = 2.0  # times of events and of containers are whole seconds
_ENDED_BY_SIGNAL = frozenset({0, 137, 143})  # 0: a program that takes SIGTERM for a wish
_KILLED = re.compile(r"failed (startup|liveness) probe")
_FAILED = re.compile(r"^(Startup|Liveness|Readiness) probe (?:failed|errored[^:]*): ?(.*)$", re.DOTALL)
_FIELD = re.compile(r"^spec\.(?:initContainers|containers)\{(.*)\}$")
# Sandboxes and containers have a new one at each try; a message that holds it would never stand still.
_IDENTIFIER = re.compile(r"\b[0-9a-f]{32,}\b")
_PROBES = {"startup": "StartupProbeFailed", "liveness": "LivenessProbeFailed"}


@dataclass(frozen=True)
class Said:
    """One thing that events say of a pod. `restarts`: of the container, when it was said."""

    reason: str
    message: str
    container: str = ""
    restarts: int = 0


def read_events(pod: Object, events: Sequence[Object]) -> tuple[Said, ...]:
    """What a pod's events say of it as it is now. `events`: core/v1, of this pod's uid."""
    return (*_unmade(pod, events), *_probes(pod, events))


def _unmade(pod: Object, events: Sequence[Object]) -> Iterator[Said]:
    """Why the pod's containers cannot be made, where none ever was."""
    if has_sandbox(pod):
        return
    newest = max((_at(each) for each in events), default=0.0)
    for reason, meant in (("FailedMount", _VOLUMES), (_SANDBOX, {_SANDBOX})):
        words = sorted(
            {
                _plain(each.get("message"))
                for each in events
                if each.get("reason") in meant and _at(each) >= newest - _RECENT_SECONDS
            },
            # "timed out waiting" is what the kubelet adds to the reason that it gave before.
            key=lambda text: (text.startswith("Unable to attach or mount"), text),
        )
        if words:
            yield Said(reason, words[0])


def _probes(pod: Object, events: Sequence[Object]) -> Iterator[Said]:
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        name = container["name"]
        mine = [each for each in events if _container(each) == name]
        restarts = int(container.get("restartCount") or 0)
        killed = _newest(mine, lambda each: each.get("reason") == "Killing" and _kind(each) is not None)
        if killed is not None and _in_its_run(killed, container):
            kind = _kind(killed) or "liveness"
            yield Said(_PROBES[kind], _words(mine, kind.capitalize()), name, restarts)
        elif "running" in (container.get("state") or {}):
            words = _words(mine, "Readiness", since=_started(container))
            if words:
                yield Said("ReadinessProbeFailed", words, name, restarts)


def _in_its_run(event: Object, container: Object) -> bool:
    """Whether the event speaks of the container's current run, or of the one that ended last.

    In a loop the kubelet soon drops events (a burst of 25 for a pod, then one each 5 minutes). So a run that
    was ended by a signal as well, and not for its memory, is taken to have ended as the one that was told.
    """
    state: Any = container.get("state") or {}
    at = _at(event)
    if "running" in state and at >= seconds(state["running"].get("startedAt")):
        return True
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    if not ended:
        return False
    if ended.get("exitCode") in _ENDED_BY_SIGNAL and ended.get("reason") != "OOMKilled":
        return True
    begun, end = seconds(ended.get("startedAt")), seconds(ended.get("finishedAt"))
    return begun - _MARGIN_SECONDS <= at <= end + _MARGIN_SECONDS


def _words(events: Sequence[Object], kind: str, since: float = 0.0) -> str:
    """The words of the newest failure of a probe of this kind."""
    newest = _newest(events, lambda each: _failed(each, kind) is not None and _at(each) >= since)
    return (_failed(newest, kind) or "") if newest is not None else ""


def _failed(event: Object, kind: str) -> str | None:
    found = _FAILED.match(event.get("message") or "") if event.get("reason") == "Unhealthy" else None
    return _plain(found[2]) or "it did not say why" if found is not None and found[1] == kind else None


def _kind(event: Object) -> str | None:
    found = _KILLED.search(event.get("message") or "")
    return found[1] if found else None


def _newest(events: Sequence[Object], fits: Any) -> Object | None:
    return max((each for each in events if fits(each)), key=_at, default=None)


def _started(container: Object) -> float:
    running: Any = (container.get("state") or {}).get("running") or {}
    return seconds(running.get("startedAt"))


def _container(event: Object) -> str:
    found = _FIELD.match((event.get("involvedObject") or {}).get("fieldPath") or "")
    return found[1] if found else ""


def _at(event: Object) -> float:
    series = event.get("series") or {}
    return seconds(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or (event.get("metadata") or {}).get("creationTimestamp")
    )


def _plain(text: Any) -> str:
    return cut(_IDENTIFIER.sub("...", str(text or "")))


def has_sandbox(pod: Object) -> bool:
    """Whether the kubelet is past volumes and network: then neither holds the pod up any more."""
    status = pod.get("status") or {}
    found = [
        each for each in status.get("conditions") or [] if each.get("type") == "PodReadyToStartContainers"
    ]
    if any(each.get("status") == "True" for each in found):
        return True
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return any(
        (each.get("state") or {}).keys() & {"running", "terminated"} or each.get("lastState")
        for each in statuses
    )
