"""`stoker run -f`: one InferenceService as one process of this machine.

The same validation, selection and rendering as in a cluster, then the container's command with its
arguments and environment. What only a pod has (volumes, probes, limits) is left out.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from rich.console import Console

from stoker.local.failures import LocalError
from stoker.local.home import cache_from
from stoker.serving.api import ServingRuntime, parse_inference_service, parse_runtime
from stoker.serving.arguments import merge_args
from stoker.serving.problems import FieldProblem, Invalid
from stoker.serving.render import render
from stoker.serving.selection import NoRuntime, select_runtime
from stoker.serving.settings import Settings
from stoker.serving.validate import validate_inference_service

_RUNTIME_IMAGE = re.compile(r"^stoker\.dev/runtime(:|$)")
_RUNTIME_KINDS = ("ServingRuntime", "ClusterServingRuntime")
_console = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class HostCommand:
    """A container as a process: its command line, what its environment adds, and what was left out."""

    command: list[str]
    environment: dict[str, str]
    notes: list[str]


def run_alone(filename: Path, port: int | None, source: Path) -> int:
    """Serve the InferenceService of a file until it ends or Ctrl-C; returns its exit code."""
    documents = read_documents(filename)
    isvc_object = the_service(documents, str(filename))
    runtimes = [*_shipped(source), *_runtimes(documents)]
    settings = Settings()
    verdict = validate_inference_service(isvc_object, None, runtimes, settings)
    for warning in verdict.warnings:
        _console.print(f"Warning: {warning}", style="yellow", markup=False)
    if verdict.problems:
        raise refused(verdict.problems, filename)
    try:
        isvc = parse_inference_service(isvc_object)
        selection = select_runtime(isvc, runtimes)
        rendered = render(isvc, selection.runtime, settings)
    except NoRuntime as failure:
        raise LocalError(
            failure.message, "Apply a runtime beside it: put a ServingRuntime into the same file."
        ) from failure
    except Invalid as failure:
        raise refused(failure.problems, filename) from failure
    host = host_command(rendered.template["spec"], port, os.environ, cache_from(), source)
    chosen = selection.runtime.name if selection.runtime else "its own containers"
    _console.print(f"{isvc.namespace}/{isvc.name} with {chosen}", markup=False)
    for note in host.notes:
        _console.print(note, style="dim", markup=False)
    _console.print(f"$ {shlex.join(host.command)}", style="cyan", markup=False)
    return supervise(host)


def read_documents(filename: Path) -> list[dict[str, Any]]:
    """All documents of a YAML file, or of standard input for `-`."""
    try:
        text = sys.stdin.read() if str(filename) == "-" else filename.read_text()
        found = [document for document in yaml.safe_load_all(text) if document is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LocalError(
            f"{filename} cannot be read: {error}", "Give a YAML file with an InferenceService."
        ) from error
    if not all(isinstance(document, dict) for document in found):
        raise LocalError(
            f"{filename} holds something that is no object.", "Each document must be a YAML mapping."
        )
    return found


def the_service(documents: Sequence[Mapping[str, Any]], filename: str) -> dict[str, Any]:
    """The one InferenceService among documents. Raises LocalError when there are none or several."""
    found = [dict(document) for document in documents if document.get("kind") == "InferenceService"]
    if len(found) != 1:
        raise LocalError(
            f"{filename} holds {len(found) or 'no'} InferenceService{'s' if len(found) > 1 else ''}.",
            "Give a file with exactly one; ServingRuntimes may stand beside it.",
        )
    return found[0]


def host_command(
    pod_spec: Mapping[str, Any], port: int | None, environ: Mapping[str, str], cache: Path, source: Path
) -> HostCommand:
    """The model container of a pod spec as a process. `cache` is Stoker's cache."""
    container = pod_spec["containers"][0]
    notes = []
    if extra := [each["name"] for each in pod_spec["containers"][1:]]:
        notes.append(f"Not started here: the other containers ({', '.join(extra)}).")
    arguments = list(container.get("args", []))
    added: dict[str, str] = {}
    if _RUNTIME_IMAGE.match(container.get("image", "")) and not container.get("command"):
        command = [sys.executable, "-P", "-m", "runtime"]
        if port is not None:
            arguments = merge_args(arguments, [f"--http_port={port}"])
        added["HF_HUB_CACHE"] = environ.get("HF_HUB_CACHE") or str(cache / "huggingface" / "hub")
        added["PYTHONPATH"] = str(source)
    elif container.get("command"):
        command = list(container["command"])
    else:
        raise LocalError(
            f"What the image {container.get('image')} starts is known to the image alone.",
            "Give the container a `command`, or run it in a cluster (`stoker up`).",
        )
    mounted = [each["mountPath"].rstrip("/") for each in container.get("volumeMounts", [])]
    for variable in container.get("env", []):
        name, value = variable["name"], variable.get("value")
        if value is None and "valueFrom" in variable:
            if name not in environ:
                notes.append(f"Not set: {name} (the cluster would take it from {_origin(variable)}).")
        elif any(str(value or "").startswith((path, f"{path}/")) for path in mounted):
            notes.append(f"Left as it is here: {name} (in a pod it names a volume).")
        else:
            added[name] = value or ""
    return HostCommand([*command, *arguments], added, notes)


def supervise(host: HostCommand) -> int:
    """Run the process; the first Ctrl-C or SIGTERM drains it, a second one kills it."""
    # Also when this program is killed: a model server that nobody minds would keep the GPU.
    setpriv = shutil.which("setpriv")
    guard = [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
    environment = {**os.environ, **host.environment}
    # A group of its own: the terminal's Ctrl-C must reach it once, as SIGTERM.
    process = subprocess.Popen([*guard, *host.command], env=environment, process_group=0)
    asked = 0

    def drain(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            _console.print("Draining: requests under way are finished; Ctrl-C again stops at once.")
            process.send_signal(signal.SIGTERM)
        else:
            process.kill()

    previous = {number: signal.signal(number, drain) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def refused(problems: Sequence[FieldProblem], filename: Path) -> LocalError:
    """What the webhook would answer."""
    lines = [f"{problem.field}: {problem.message}" for problem in problems]
    return LocalError(f"{filename} is not valid.", "Mend these fields and run it again.", "\n".join(lines))


def _shipped(source: Path) -> list[ServingRuntime]:
    files = sorted((source / "manifests" / "runtimes").glob("*.yaml"))
    return _runtimes([document for file in files for document in read_documents(file)])


def _runtimes(documents: Sequence[Mapping[str, Any]]) -> list[ServingRuntime]:
    return [parse_runtime(dict(each)) for each in documents if each.get("kind") in _RUNTIME_KINDS]


def _origin(variable: Mapping[str, Any]) -> str:
    """`the Secret hf-token` and the like."""
    for kind, words in (("secretKeyRef", "the Secret"), ("configMapKeyRef", "the ConfigMap")):
        if reference := variable["valueFrom"].get(kind):
            return f"{words} {reference.get('name')}"
    return "the pod"
