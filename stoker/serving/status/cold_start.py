"""How long a revision's first pod took from its creation until it was ready, phase by phase.

Kubernetes' times are whole seconds; those of the model server are its own, to the millisecond.
"""

from __future__ import annotations

from stoker.serving.api.reading import Object
from stoker.serving.rendering.storage import INITIALIZER
from stoker.serving.status.times import seconds

# In the order in which they happen; in the words of people, for the event.
PHASES = ("scheduled", "pulled", "downloaded", "loaded", "warmed")
_LOADING = ("Starting", "Importing", "Loading", "Compiling")


def cold_start(pod: Object, state: Object, container: str) -> Object | None:
    """`status.coldStart` of a pod that is ready, or None where its times are not known.

    `state`: its state document, {} where its server has none; `container`: which one serves the model. A
    container that was restarted says nothing of a first start's seconds.
    """
    status = pod.get("status") or {}
    begun = _container(status.get("containerStatuses") or [], container)
    running = ((begun or {}).get("state") or {}).get("running") or {}
    created = seconds(pod["metadata"].get("creationTimestamp"))
    placed, ready = _since(status, "PodScheduled"), _since(status, "Ready")
    started = seconds(running.get("startedAt"))
    if begun is None or begun.get("restartCount") or not (created <= placed <= started <= ready):
        return None
    fetched = _initialized(status)
    found = {"scheduled": placed - created, "pulled": started - placed - fetched}
    phases = state.get("phases")
    if isinstance(phases, dict):
        found["downloaded"] = fetched + _sum(phases, ("Fetching",))
        found["loaded"] = _sum(phases, _LOADING)
        found["warmed"] = _sum(phases, ("Warming",))
    elif fetched:
        found["downloaded"] = fetched
    shown: Object = {f"{name}Seconds": round(max(0.0, each), 1) for name, each in found.items()}
    return {"pod": pod["metadata"]["name"], **shown, "totalSeconds": round(ready - created, 1)}


def words(start: Object) -> str:
    """`42 s from creation to ready: scheduled 0 s, pulled 3 s, ...`."""
    parts = [f"{name} {start[f'{name}Seconds']:g} s" for name in PHASES if f"{name}Seconds" in start]
    total = start.get("totalSeconds", 0)
    return f"{total:g} s from the pod's creation until it was ready: {', '.join(parts)}"


def _since(status: Object, kind: str) -> float:
    found = [each for each in status.get("conditions") or [] if each.get("type") == kind]
    return seconds(found[0].get("lastTransitionTime")) if found else 0.0


def _container(statuses: list[Object], name: str) -> Object | None:
    return next((each for each in statuses if each["name"] == name), None)


def _initialized(status: Object) -> float:
    """Seconds that the init container took which fetches the model."""
    found = _container(status.get("initContainerStatuses") or [], INITIALIZER)
    ended = ((found or {}).get("state") or {}).get("terminated") or {}
    return max(0.0, seconds(ended.get("finishedAt")) - seconds(ended.get("startedAt")))


def _sum(phases: Object, names: tuple[str, ...]) -> float:
    return sum(float(phases[name]) for name in names if isinstance(phases.get(name), int | float))
