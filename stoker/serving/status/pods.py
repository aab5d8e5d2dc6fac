"""What a pod says about itself: ready, what it is doing, or why it does not serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from stoker.serving import names
from stoker.serving.api.reading import Object
from stoker.serving.rendering.storage import INITIALIZER
from stoker.serving.rollouts.rollout import Observed, Unschedulable
from stoker.serving.rollouts.scheduling import pod_requests
from stoker.serving.status.pod_events import Said
from stoker.serving.status.times import seconds
from stoker.serving.status.trouble import Trouble, condition, has_ended, trouble_of, unschedulable_words

_PHASES = {
    "Starting": "the model server is starting",
    "Fetching": "the model is being fetched",
    "Importing": "the engine's libraries are being imported",
    "Loading": "the weights are being loaded",
    "Compiling": "the model is being compiled",
    "Warming": "the model answers its first request",
    "Ready": "the model is loaded, the readiness probe is awaited",
    "Draining": "the model server is draining",
}


@dataclass(frozen=True)
class Report:
    """One pod that is not under deletion. Unless it is ready, it has either `trouble` or `progress`."""

    pod: str
    ready: bool
    running: bool = False  # the model's container runs
    ended: bool = False  # for good; another pod took or takes its place
    trouble: Trouble | None = None
    progress: tuple[str, str] | None = None  # reason and message


def report(pod: Object, state: Object | None, said: Sequence[Said] = ()) -> Report:
    """Judge a pod. `state`: its state document; None where it is unknown, which is no verdict by itself.

    `said`: what its events say, where they were asked.
    """
    name = pod["metadata"]["name"]
    if is_ready(pod):
        return Report(name, ready=True, running=True)
    running, ended = model_runs(pod), has_ended(pod)
    trouble = trouble_of(pod, state, said)
    progress = None if trouble else _progress(pod, state, said, running=running)
    return Report(name, ready=False, running=running, ended=ended, trouble=trouble, progress=progress)


def observe(
    name: str, wanted: int, pods: Sequence[Object], reports: Sequence[Report], template: Object
) -> Observed:
    """One revision's pods in numbers. `reports`: of the `pods` that are not under deletion."""
    waiting = [each for pod in pods if not is_terminating(pod) and (each := unschedulable(pod)) is not None]
    failed = [each.trouble for each in reports if each.trouble is not None and not each.ended]
    return Observed(
        name=name,
        wanted=wanted,
        total=sum(not each.ended for each in reports),
        ready=sum(each.ready for each in reports),
        terminating=sum(is_terminating(pod) for pod in pods),
        failing=any(trouble.reason != "Unschedulable" for trouble in failed),
        unschedulable=min(waiting, key=lambda each: each.since, default=None),
        requests=pod_requests(template.get("spec") or {}),
    )


def is_ready(pod: Object) -> bool:
    """Whether the pod takes requests: Ready and not under deletion."""
    found = condition(pod, "Ready")
    return found is not None and found.get("status") == "True" and not is_terminating(pod)


def is_terminating(pod: Object) -> bool:
    """Whether the pod is under deletion."""
    return pod["metadata"].get("deletionTimestamp") is not None


def unschedulable(pod: Object) -> Unschedulable | None:
    """The scheduler's words and since when, where it found no node."""
    words = unschedulable_words(pod)
    if words is None:
        return None
    found = condition(pod, "PodScheduled") or {}
    return Unschedulable(words, seconds(found.get("lastTransitionTime")))


def worst(reports: Sequence[Report]) -> Trouble | None:
    """The trouble to show of several pods: what programs did before what the scheduler says.

    A pod that ended for good counts only where no other took its place, or where its place is taken again
    and again: then the next one's progress leads nowhere.
    """
    ended = [each for each in reports if each.ended]
    current = [each for each in reports if not each.ended] or reports
    troubles = [each.trouble for each in current if each.trouble is not None]
    found = min(
        troubles, key=lambda each: (each.reason == "Unschedulable", each.reason, each.pod), default=None
    )
    if found is None and len(ended) > 1 and not any(each.ready for each in current):
        last = max((each.trouble for each in ended if each.trouble), key=lambda each: each.time or "")
        words = f"{len(ended)} pods ended one after the other, the last: {last.message}"
        return replace(last, message=words)
    return found


def ended_before(reports: Sequence[Report]) -> str:
    """What became of the pod whose place another took; "" where none did."""
    last = max(
        (each.trouble for each in reports if each.ended and each.trouble),
        key=lambda each: each.time or "",
        default=None,
    )
    return "" if last is None else f"a pod before it ended, {last.reason}: {last.message}"


def _progress(pod: Object, state: Object | None, said: Sequence[Said], *, running: bool) -> tuple[str, str]:
    scheduled = condition(pod, "PodScheduled")
    if scheduled is None or scheduled.get("status") != "True":
        return "Scheduling", "the pod waits for a node"
    phase = (state or {}).get("phase")
    for container in (pod.get("status") or {}).get("initContainerStatuses") or []:
        if not container.get("started") and "running" in (container.get("state") or {}):
            if container["name"] == INITIALIZER and state is not None and phase in _PHASES:
                return phase, _PHASES[phase] + _share(state.get("progress"))
            return "Initializing", f"init container {container['name']} runs"
    if not running:
        return "Creating", "the image is being pulled or the container made"
    if state is None or phase not in _PHASES:
        words = next((each.message for each in said if each.reason == "ReadinessProbeFailed"), "")
        return "Starting", "the container runs and is not ready yet" + (words and f": {words}")
    return phase, _PHASES[phase] + _share(state.get("progress"))


def _share(progress: Any) -> str:
    """`, 40%`, in tens: a status that is written at each percent would be all that the API server does."""
    if not isinstance(progress, dict):
        return ""
    done, total = progress.get("done"), progress.get("total")
    if not isinstance(done, int | float) or not isinstance(total, int | float) or total <= 0:
        return ""
    return f", {min(100, int(max(0, done) * 10 // total) * 10)}%"


def model_runs(pod: Object) -> bool:
    """Whether the container that serves the model runs, ready or not."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    mine = [each for each in statuses if each["name"] == names.MODEL_CONTAINER] or statuses
    return any("running" in (each.get("state") or {}) for each in mine)


def answering(pod: Object) -> str | None:
    """The container that may answer with a state document: the model's, or before it the one that fetches."""
    for container in (pod.get("status") or {}).get("initContainerStatuses") or []:
        if container["name"] == INITIALIZER and "running" in (container.get("state") or {}):
            return INITIALIZER
    return names.MODEL_CONTAINER if model_runs(pod) else None
