"""One InferenceService, from what the caches say to what the cluster should hold.

The steps of a reconcile, each of which may be the last before a crash:

    1. store a new revision, before anything is made from it
    2. apply the children that differ, but for Deployments that lose pods
    3. delete what is not wanted any more
    4. write the status, where it differs: the gateway reads its weights there
    5. take pods away, once the weights that were stored before this reconcile say so

A crash after any of them leaves something from which the next reconcile goes on.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import structlog

from controller import story
from controller.caches import Caches, View, controller_uid
from controller.desired import Child, Desired, desire
from controller.metrics import Metrics
from controller.observation import SaidOf, StateOf, nothing_said
from controller.resources import INFERENCE_SERVICES
from stoker.kube.conditions import set_condition
from stoker.kube.control_loop import Result
from stoker.kube.difference import covers
from stoker.kube.errors import ApiError
from stoker.kube.events import EventRecorder
from stoker.kube.resource import CONTROLLER_REVISIONS, Key, Object, key_of
from stoker.kube.verbs import Client
from stoker.serving import names
from stoker.serving.rollouts.children import HAND_OVER_ANNOTATION
from stoker.serving.settings import Settings
from stoker.serving.status.judge import Situation, SpecProblem, judge

log = structlog.get_logger()

_COLLECTION_SECONDS = 1.0  # until an earlier InferenceService's objects are looked for again
_REFUSED = "ReconcileFailed"


class NameTaken(Exception):
    """An object that is wanted exists and is another's. `passing`: its owner is gone, so it will go."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


class InferenceServiceReconciler:
    """Reads the caches and the pods' state documents, and nothing else."""

    def __init__(
        self,
        client: Client,
        caches: Caches,
        settings: Settings,
        *,
        state_of: StateOf,
        said_of: SaidOf = nothing_said,
        events: EventRecorder,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock`: seconds since the epoch."""
        self._client = client
        self._caches = caches
        self._settings = settings
        self._state_of = state_of
        self._said_of = said_of
        self._events = events
        self._metrics = metrics
        self._clock = clock

    async def reconcile(self, key: Key) -> Result:
        """Make the cluster as one InferenceService asks."""
        view = self._caches.view(key)
        if view is None or view.obj["metadata"].get("deletionTimestamp") is not None:
            if view is None:
                self._caches.recent.forget(key)
            self._metrics.services.forget(key)
            return Result()  # children go with their owner
        desired = desire(view, self._settings, self._state_of, self._clock(), self._said_of)
        try:
            await self._make(view, desired)
        except NameTaken as taken:
            await self._report(view, _with_problem(desired.situation, str(taken)))
            return Result(_COLLECTION_SECONDS if taken.passing else 60.0)
        except ApiError as refusal:
            if refusal.status in {400, 403, 404, 422}:
                await self._report(view, _with_problem(desired.situation, refusal.message))
            raise
        await self._report(view, desired.situation)
        if _traffic_has_moved(desired.situation):
            await self._apply(view, desired.shrink)
        return Result(desired.check_after)

    async def _make(self, view: View, desired: Desired) -> None:
        for resource, obj in view.inherited():
            name = obj["metadata"]["name"]
            words = f"{resource.kind} {name} still belongs to an earlier InferenceService of this name"
            raise NameTaken(f"{words}; it goes once it is garbage collected", passing=True)
        if desired.new_revision is not None:
            await self._store(view, desired.new_revision)
        await self._apply(view, desired.keep)
        if desired.hand_over:
            self._events.warning(view.obj, "HandOver", "Replace", desired.hand_over)
        for resource, obj in desired.delete:
            await self._client.delete(resource, key_of(obj), uid=obj["metadata"]["uid"])
            self._caches.recent.note_deleted(resource, view.key, obj)
            log.info("deleted what is not wanted any more", kind=resource.kind, name=obj["metadata"]["name"])

    async def _store(self, view: View, revision: Object) -> None:
        """A revision is created, never applied: its content must not be mixed with another's."""
        try:
            reply = await self._client.create(CONTROLLER_REVISIONS, revision)
        except ApiError as error:
            if not error.is_already_exists:
                raise
            live = await self._client.get(CONTROLLER_REVISIONS, key_of(revision))
            self._check_owner(view, live, "ControllerRevision")
            raise ApiError(
                409, "Conflict", "the revision was stored before and is not in the cache"
            ) from error
        self._caches.recent.note(CONTROLLER_REVISIONS, view.key, reply)
        name = revision["metadata"]["name"]
        runtime = (revision["data"].get("runtime") or {}).get("name")
        words = f"{name} is rendered from runtime {runtime}" if runtime else f"{name} is made"
        self._events.normal(view.obj, "RevisionCreated", "Render", words)
        log.info("revision stored", revision=name, runtime=runtime)

    async def _apply(self, view: View, children: Iterable[Child]) -> None:
        for child in children:
            if child.live is not None:
                self._check_owner(view, child.live, child.resource.kind)
            if child.live is None or _differs(child.live, child.wanted):
                reply = await self._send(view, child)
                self._caches.recent.note(child.resource, view.key, reply)
                log.info("applied", kind=child.resource.kind, name=child.wanted["metadata"]["name"])

    async def _send(self, view: View, child: Child) -> Object:
        """Apply. An object that the caches do not have may be another's: then it is not taken by force."""
        try:
            return await self._client.apply(child.resource, child.wanted, force=child.live is not None)
        except ApiError as error:
            if child.live is not None or not error.is_conflict:
                raise
        live = await self._client.get(child.resource, key_of(child.wanted))
        self._check_owner(view, live, child.resource.kind)
        return await self._client.apply(child.resource, child.wanted)

    def _check_owner(self, view: View, live: Object, kind: str) -> None:
        if view.controls(live):
            return
        labels = live["metadata"].get("labels") or {}
        if controller_uid(live) is None and labels.get(names.APP_MANAGED_BY_LABEL) == names.MANAGER:
            return  # orphaned by an earlier InferenceService of this name: adopted
        name = live["metadata"]["name"]
        raise NameTaken(f"{kind} {name} exists and is not Stoker's; delete or rename it", passing=False)

    async def _report(self, view: View, situation: Situation) -> None:
        """Write the status where it differs, and tell what changed."""
        before = situation.before
        status = _timed(judge(situation), before, self._clock())
        phase = situation.plan.phase if situation.plan else None
        self._metrics.services.judged(view.obj, status, phase, self._clock())
        if status == before:
            return
        metadata = view.obj["metadata"]
        # The version makes a status judged from an old copy lose against whatever came since.
        named = {name: metadata[name] for name in ("name", "namespace", "uid", "resourceVersion")}
        reply = await self._client.apply(
            INFERENCE_SERVICES, {"metadata": named, "status": status}, subresource="status"
        )
        self._caches.recent.note(INFERENCE_SERVICES, view.key, reply)
        for note in story.notes(before, status):
            record = self._events.warning if note.warning else self._events.normal
            record(view.obj, note.reason, note.action, note.note)


def _with_problem(situation: Situation, message: str) -> Situation:
    return dataclasses.replace(situation, problem=SpecProblem(_REFUSED, message))


def _timed(status: Object, before: Object, now: float) -> Object:
    """The status with each condition's lastTransitionTime, which moves only when its status does."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    wanted = {each["type"]: each for each in status["conditions"]}
    conditions = [each for each in before.get("conditions") or [] if each["type"] in wanted]
    for each in wanted.values():
        conditions = set_condition(
            conditions,
            type=each["type"],
            status=each["status"],
            reason=each["reason"],
            message=each["message"],
            generation=each["observedGeneration"],
            now=stamp,
        )
    return {**status, "conditions": conditions}


def _traffic_has_moved(situation: Situation) -> bool:
    """Whether the stored table, not the one just written, is the one that the plan wants."""
    predictor = (situation.before.get("components") or {}).get("predictor") or {}
    return situation.plan is not None and (predictor.get("traffic") or []) == situation.plan.traffic


def _differs(live: Object, wanted: Object) -> bool:
    """Whether to apply: something wanted is otherwise, or the mark of a hand-over that ended has to go."""
    mine, theirs = (each["metadata"].get("annotations") or {} for each in (wanted, live))
    return (HAND_OVER_ANNOTATION in theirs.keys() - mine.keys()) or not covers(live, wanted)
