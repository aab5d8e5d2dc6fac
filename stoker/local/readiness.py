"""Watching a cluster start: what each component says about itself, until all are ready."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoker.local.api import Api
from stoker.local.failures import LocalError
from stoker.local.home import Home
from stoker.local.processes import tail
from stoker.local.progress import Components

_POLL = 0.25  # seconds
# A component that was restarted this often while starting will not come up by itself.
_TOO_MANY_RESTARTS = 6


@dataclass(frozen=True)
class ComponentState:
    """One row: a component, its state in a word (Waiting, Running, Ready, ...), and why."""

    name: str
    state: str
    detail: str = ""
    restarts: int = 0

    @property
    def ready(self) -> bool:
        """Whether nothing more is expected of it."""
        return self.state in ("Ready", "Running", "Done")


def processes(status_file: Path) -> list[ComponentState]:
    """The components of a supervisor, from its status file."""
    try:
        report: dict[str, Any] = json.loads(status_file.read_text())
    except (OSError, ValueError):
        return []
    rows = []
    for name, run in report.items():
        restarts = run["restarts"]
        detail = (
            f"ended {restarts} time{'s' * (restarts != 1)}, last with exit code {run['exitCode']}"
            if restarts
            else ""
        )
        rows.append(ComponentState(name, run["state"], detail, restarts))
    return rows


def node(api: Api, name: str) -> ComponentState:
    """The node object's Ready condition."""
    found = api.get(f"/api/v1/nodes/{name}")
    conditions = (found or {}).get("status", {}).get("conditions", [])
    ready = next((each for each in conditions if each["type"] == "Ready"), None)
    if ready is None:
        return ComponentState("node", "Waiting")
    if ready["status"] == "True":
        return ComponentState("node", "Ready")
    return ComponentState("node", "Starting", ready.get("message", "")[:120])


def deployments(api: Api, namespace: str, names: Iterable[str] = ()) -> list[ComponentState]:
    """Deployments of a namespace; those in `names` are listed even while they are not there."""
    found = (api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments") or {}).get("items", [])
    by_name = {each["metadata"]["name"]: each for each in found}
    pods = (api.get(f"/api/v1/namespaces/{namespace}/pods") or {}).get("items", []) if by_name else []
    return [_deployment(name, by_name.get(name), pods) for name in dict.fromkeys([*names, *by_name])]


def asked(url: str) -> str:
    """What a program's own readiness address says against it; "" when it is ready."""
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - an http URL of this machine
            return ""
    except urllib.error.HTTPError as error:
        return error.read(160).decode(errors="replace").strip() or f"HTTP {error.code}"
    except OSError:
        return "does not answer yet"


def wait(
    home: Home, shown: Components, states: Iterator[list[ComponentState]], timeout: float, pid: int
) -> None:
    """Show states until all are ready.

    Raises LocalError when `timeout` seconds pass, the cluster's process `pid` ends, or a component
    keeps ending.
    """
    deadline = time.monotonic() + timeout
    for rows in states:
        for row in rows:
            shown.show(row.name, row.state, row.detail)
        if rows and all(row.ready for row in rows):
            return
        waiting = [row for row in rows if not row.ready]
        if not alive(pid):
            raise LocalError(
                "The cluster's first process ended.",
                f"The whole log: {home.log('node')}",
                tail(home.log("node"), 15),
            )
        _give_up_on_crashes(home, waiting)
        if time.monotonic() > deadline:
            names = "; ".join(f"{row.name} is {row.state} {row.detail}".rstrip() for row in waiting)
            first = waiting[0].name if waiting else "node"
            raise LocalError(
                f"Not ready after {timeout:.0f} s: {names or 'nothing has started'}.",
                f"`stoker logs {first}` says more. On a busy machine try again when it is quieter.",
                tail(home.log(first), 10),
            )
        time.sleep(_POLL)


def alive(pid: int) -> bool:
    """Whether a process (anybody's) exists and has not ended."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False
    return after_name.split()[0] not in ("Z", "X")


def _give_up_on_crashes(home: Home, waiting: Iterable[ComponentState]) -> None:
    for row in waiting:
        if row.state == "Restarting" and row.restarts >= _TOO_MANY_RESTARTS:
            raise LocalError(
                f"{row.name} keeps ending ({row.detail}).",
                f"The whole log: {home.log(row.name)}",
                tail(home.log(row.name), 15),
            )


def _deployment(name: str, found: dict[str, Any] | None, pods: list[dict[str, Any]]) -> ComponentState:
    if found is None:
        return ComponentState(name, "Waiting")
    spec, status = found["spec"], found.get("status", {})
    current = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    # Like `kubectl rollout status`: while an old pod is there, it may be the one that is available.
    only_new = status.get("replicas", 0) <= updated
    if current and only_new and updated >= spec["replicas"] and available >= spec["replicas"]:
        return ComponentState(name, "Ready")
    labels = spec["selector"]["matchLabels"].items()
    reasons = [_why_not(pod) for pod in pods if labels <= pod["metadata"].get("labels", {}).items()]
    return ComponentState(name, "Starting", next((reason for reason in reasons if reason), ""))


def _why_not(pod: dict[str, Any]) -> str:
    """What keeps a pod from being ready, in the cluster's words."""
    status = pod.get("status", {})
    # Sidecars are init containers that go on running.
    containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    for container in containers:
        if waiting := container.get("state", {}).get("waiting"):
            words = f"{container['name']}: {waiting.get('reason', '')} {waiting.get('message', '')}"
            return words.strip()[:160]
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message", ""))[:160]
    unready = [each["name"] for each in containers if not each["ready"]]
    return f"waiting for {', '.join(unready)}" if unready else ""
