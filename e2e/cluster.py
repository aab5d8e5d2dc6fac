"""The cluster under test, as a user has it: the `stoker` command, kubectl, curl and the openai client."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import openai

from stoker.kube.resource import CONTROLLER_REVISIONS, DEPLOYMENTS, NODES, PODS, SERVICES, Resource
from tests.connection import Connection

ROOT = Path(__file__).resolve().parents[1]
STOKER = ROOT / ".venv" / "bin" / "stoker"
Object = dict[str, Any]
_KINDS = {
    "inferenceservice": Resource("serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService"),
    "servingruntime": Resource("serving.kserve.io", "v1alpha1", "servingruntimes", "ServingRuntime"),
    "pods": PODS,
    "deployments": DEPLOYMENTS,
    "services": SERVICES,
    "controllerrevisions": CONTROLLER_REVISIONS,
    "endpointslices": Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    "nodes": NODES,
}


@dataclass(frozen=True)
class Cluster:
    """A running local cluster and the environment that `stoker env` prints for it."""

    env: dict[str, str]

    @property
    def ingress(self) -> str:
        return f"http://{self.env['INGRESS_HOST']}:{self.env['INGRESS_PORT']}"

    def run(self, *command: str, stdin: str | None = None, timeout: float = 120, check: bool = True) -> str:
        """Run a command in the cluster's environment and return what it printed."""
        done = subprocess.run(
            command, input=stdin, env=self.env, timeout=timeout, capture_output=True, text=True, check=False
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout if done.returncode == 0 else done.stdout + done.stderr

    def stoker(self, *args: str, timeout: float = 300) -> str:
        return self.run(str(STOKER), *args, timeout=timeout)

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True) -> str:
        return self.run("kubectl", *args, stdin=stdin, check=check)

    def apply(self, manifest: str | Path | Object) -> str:
        """Apply YAML text, a file, or one object."""
        if isinstance(manifest, Path):
            return self.kubectl("apply", "-f", str(manifest))
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        return self.kubectl("apply", "-f", "-", stdin=text)

    def get(self, kind: str, name: str = "", *, namespace: str = "default", selector: str = "") -> Object:
        """An object, or a list; not through kubectl, since tests poll with it."""
        path = _KINDS[kind].path(namespace, name or None)
        query = f"?{urlencode({'labelSelector': selector})}" if selector else ""
        status, found = self._connection.ask("GET", path + query)
        if status != 200:
            raise AssertionError(f"get {kind} {name} -n {namespace}: {status} {found.get('message')}")
        return found

    @functools.cached_property
    def _connection(self) -> Connection:
        return Connection(Path(self.env["KUBECONFIG"]))

    def wait(self, what: str, check: Callable[[], Any], *, timeout: float = 120, every: float = 0.2) -> Any:
        """Poll until `check` returns something true; on time-out say what was seen last."""
        deadline = time.monotonic() + timeout
        seen: Any = None
        while time.monotonic() < deadline:
            try:
                seen = check()
            except AssertionError as error:
                seen = error
            else:
                if seen:
                    return seen
            time.sleep(every)
        raise AssertionError(f"not within {timeout:.0f} s: {what}; last seen: {seen!r}")

    def condition(self, name: str, kind: str = "Ready", *, namespace: str = "default") -> Object:
        """The named condition of an InferenceService, or {}."""
        status = self.get("inferenceservice", name, namespace=namespace).get("status", {})
        return next((c for c in status.get("conditions", []) if c["type"] == kind), {})

    def wait_ready(self, name: str, *, timeout: float = 180, namespace: str = "default") -> Object:
        """Wait until Ready is True for the generation that is stored now; return the object."""

        def ready() -> Object | None:
            isvc = self.get("inferenceservice", name, namespace=namespace)
            status = isvc.get("status", {})
            if status.get("observedGeneration") != isvc["metadata"]["generation"]:
                return None
            state = {c["type"]: c["status"] for c in status.get("conditions", [])}
            return isvc if state.get("Ready") == "True" else None

        try:
            isvc: Object = self.wait(f"InferenceService {name} Ready", ready, timeout=timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\nReady: {self.condition(name, namespace=namespace)}") from error
        return isvc

    def wait_reason(
        self, name: str, reason: str, words: str, *, timeout: float = 90, namespace: str = "default"
    ) -> Object:
        """Wait until Ready is not True with this reason and these words in its message."""

        def said() -> Object | None:
            ready = self.condition(name, namespace=namespace)
            told = ready.get("status") != "True" and ready.get("reason") == reason
            return ready if told and words in ready.get("message", "") else None

        try:
            found: Object = self.wait(f"{name}: reason {reason} with {words!r}", said, timeout=timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\nReady: {self.condition(name, namespace=namespace)}") from error
        return found

    def wait_event(self, name: str, words: str, *, timeout: float = 20) -> None:
        """Wait until `kubectl describe` of an InferenceService shows an event with these words: it is told
        after the status is written.
        """

        def told() -> bool:
            return words in self.kubectl("describe", "inferenceservice", name).partition("Events:")[2]

        self.wait(f"kubectl describe inferenceservice {name}: an event with {words!r}", told, timeout=timeout)

    def delete(self, name: str, kind: str = "inferenceservice") -> None:
        self.kubectl("delete", kind, name, "--ignore-not-found", "--wait=true")

    def client(self, host: str) -> openai.OpenAI:
        """The official client, through the gateway, for the service that answers to this host."""
        return openai.OpenAI(
            base_url=f"{self.ingress}/openai/v1",
            api_key="none",
            default_headers={"Host": host},
            max_retries=0,
            timeout=120,
        )


def environment(home: Path) -> dict[str, str]:
    """The environment a user has after `eval "$(stoker env)"`."""
    base = {**os.environ, "STOKER_HOME": str(home)}
    printed = subprocess.run(
        ["bash", "-c", f'eval "$({STOKER} env)" && env -0'],
        env=base,
        check=True,
        capture_output=True,
        timeout=60,
    ).stdout
    return dict(entry.split("=", 1) for entry in printed.decode().split("\0") if "=" in entry)


def save_artifacts(cluster: Cluster, folder: Path) -> None:
    """Component logs, objects, events and pods' logs, for whoever looks into a failure."""
    folder.mkdir(parents=True, exist_ok=True)
    commands = {
        "objects.yaml": [
            "kubectl",
            "get",
            "isvc,servingruntime,deploy,pod,svc,controllerrevision",
            "-A",
            "-o",
            "yaml",
        ],
        "events.txt": ["kubectl", "get", "events", "-A", "--sort-by=.lastTimestamp"],
        "wide.txt": ["kubectl", "get", "isvc,pod", "-A", "-o", "wide"],
        "status.txt": [str(STOKER), "status"],
    }
    for name, command in commands.items():
        (folder / name).write_text(cluster.run(*command, check=False))
    for pod in json.loads(cluster.kubectl("get", "pods", "-A", "-o", "json"))["items"]:
        meta = pod["metadata"]
        log = cluster.kubectl(
            "logs", "-n", meta["namespace"], meta["name"], "--all-containers", "--tail=2000", check=False
        )
        (folder / f"{meta['namespace']}.{meta['name']}.log").write_text(log)
    logs = Path(cluster.env["STOKER_HOME"]) / "logs"
    if logs.is_dir():
        subprocess.run(["cp", "-r", str(logs), str(folder / "components")], check=False)
    print(f"artefacts of the failure: {folder}", file=sys.stderr)
