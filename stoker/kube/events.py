"""What happened to an object, told where `kubectl describe` shows it (events.k8s.io/v1).

Telling is best effort and never in the way: the caller only puts a note into a bounded queue.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from stoker.kube.background import task_group
from stoker.kube.backoff import Backoff
from stoker.kube.errors import ApiError, ConnectionFailed
from stoker.kube.resource import EVENTS, Key, Object, key_of
from stoker.kube.verbs import Client

log = structlog.get_logger()

NOTE_LIMIT = 1024  # bytes, as the API server counts
_WORD_LIMIT = 128  # reason and action
_NAME_LIMIT = 253
_WAITING_LIMIT = 1000
_REMEMBERED = 4096
_SERIES_SECONDS = 600.0  # a repeat within this time is the same story
_SERIES_WRITE_SECONDS = 60.0  # and its count is written no more often than this
_DRAIN_SECONDS = 2.0
_TRIES = 3


@dataclass
class _Series:
    """An event that was stored, and how often it happened."""

    key: Key
    count: int
    last_at: float
    written_at: float


class EventRecorder:
    """Records events on objects. One per program; safe to call from anywhere in its event loop."""

    def __init__(self, client: Client, controller_name: str, instance: str) -> None:
        """`controller_name` like "stoker.dev/controller"; `instance` is the process, say the pod's name."""
        self._client = client
        self._controller = controller_name
        self._instance = instance[:_WORD_LIMIT]
        self._waiting: asyncio.Queue[Object] = asyncio.Queue(_WAITING_LIMIT)
        self._series: OrderedDict[tuple[str, ...], _Series] = OrderedDict()

    def normal(self, obj: Object, reason: str, action: str, note: str) -> None:
        """Something happened as it should. `reason` and `action` are CamelCase words from a fixed set."""
        self._record("Normal", obj, reason, action, note)

    def warning(self, obj: Object, reason: str, action: str, note: str) -> None:
        """Something is wrong, and the note says what to do about it."""
        self._record("Warning", obj, reason, action, note)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send beside the body; on leaving, what still waits gets 2 s."""
        async with task_group() as group:
            task = group.create_task(self._send_all(), name="events")
            try:
                yield
            finally:
                try:
                    async with asyncio.timeout(_DRAIN_SECONDS):
                        await self._waiting.join()
                except TimeoutError:
                    log.warning("events were not sent", count=self._waiting.qsize())
                task.cancel()

    def _record(self, type_: str, obj: Object, reason: str, action: str, note: str) -> None:
        try:
            self._waiting.put_nowait(self._event(type_, obj, reason, action, note))
        except asyncio.QueueFull:
            log.warning("too many events wait, one is dropped", reason=reason, note=note)
        except Exception:
            log.exception("an event could not be made", reason=reason, note=note)

    def _event(self, type_: str, obj: Object, reason: str, action: str, note: str) -> Object:
        metadata = obj["metadata"]
        regarding = {name: obj[name] for name in ("apiVersion", "kind")}
        regarding |= {
            name: metadata[name]
            for name in ("namespace", "name", "uid", "resourceVersion")
            if metadata.get(name)
        }
        suffix = f".{uuid.uuid4().hex[:16]}"
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {
                "name": key_of(obj).name[: _NAME_LIMIT - len(suffix)].rstrip(".-") + suffix,
                # Events on what has no namespace belong into "default", says the API.
                "namespace": metadata.get("namespace") or "default",
            },
            "type": type_,
            "reason": reason[:_WORD_LIMIT],
            "action": action[:_WORD_LIMIT],
            "note": _fit(note),
            "regarding": regarding,
            "eventTime": _time(),
            "reportingController": self._controller,
            "reportingInstance": self._instance,
        }

    async def _send_all(self) -> None:
        while True:
            event = await self._waiting.get()
            try:
                await self._send(event)
            except Exception:
                log.exception("an event could not be sent", reason=event["reason"], note=event["note"])
            finally:
                self._waiting.task_done()

    async def _send(self, event: Object) -> None:
        backoff = Backoff(first=0.2, cap=2.0)
        for left in reversed(range(_TRIES)):
            try:
                await self._create_or_count(event)
                return
            except (ApiError, ConnectionFailed) as error:
                if left == 0 or (isinstance(error, ApiError) and error.status < 500 and error.status != 429):
                    # 403 is what a namespace that is going away answers; nothing to do about it.
                    log.info("an event was refused", reason=event["reason"], error=str(error))
                    return
            await asyncio.sleep(backoff.next())

    async def _create_or_count(self, event: Object) -> None:
        """Store the event, or where it is a repeat count it into the stored one."""
        story = _story(event)
        now = asyncio.get_running_loop().time()
        series = self._series.get(story)
        told_before = series is not None and now - series.last_at < _SERIES_SECONDS
        if series is not None and told_before and await self._count(series, event, now):
            return
        try:
            await self._client.create(EVENTS, event)
        except ApiError as error:
            if not error.is_already_exists:  # else an earlier try succeeded and its reply was lost
                raise
        self._series[story] = _Series(key_of(event), 1, now, now)
        self._series.move_to_end(story)
        while len(self._series) > _REMEMBERED:
            self._series.popitem(last=False)

    async def _count(self, series: _Series, event: Object, now: float) -> bool:
        """Count a repeat; False where the stored event has expired meanwhile."""
        if now - series.written_at >= _SERIES_WRITE_SECONDS:
            patch = {"series": {"count": series.count + 1, "lastObservedTime": event["eventTime"]}}
            try:
                await self._client.merge_patch(EVENTS, series.key, patch)
            except ApiError as error:
                if error.is_not_found:
                    return False
                raise
            series.written_at = now
        series.count += 1
        series.last_at = now
        return True


def _story(event: Object) -> tuple[str, ...]:
    regarding = event["regarding"]
    who = (regarding["kind"], regarding.get("namespace", ""), regarding["name"], regarding.get("uid", ""))
    return (*who, event["type"], event["reason"], event["action"], event["note"])


def _fit(note: str) -> str:
    data = note.encode()
    if len(data) <= NOTE_LIMIT:
        return note
    return data[: NOTE_LIMIT - 3].decode(errors="ignore") + "..."


def _time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
