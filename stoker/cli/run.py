"""`stoker run -f isvc.yaml`: the rules of a cluster, then the container's command as one host process.

No Kubernetes and no root: a workstation with one GPU, a laptop, a debugger. What a host process cannot have
(an image's entry point, limits, Secrets) is said, never guessed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from stoker.configuration import load_args_schemas
from stoker.local.home import cache_from
from stoker.serving.admission.validate import validate_inference_service, validate_runtime
from stoker.serving.api.objects import parse_inference_service, parse_runtime
from stoker.serving.problems import FieldProblem, Invalid
from stoker.serving.rendering.expansion import expand
from stoker.serving.rendering.render import render
from stoker.serving.rendering.selection import NoRuntime, select_runtime
from stoker.serving.settings import Settings

Object = dict[str, Any]

RUNTIMES = Path(__file__).resolve().parents[2] / "manifests" / "runtimes"
_OWN_IMAGE = "stoker.dev/runtime:"
_READY_EVERY = 0.5  # seconds between looks at /ready


@dataclass(frozen=True)
class HostProcess:
    """A container as a process of the host; `notes` say what of the container a host does not give."""

    command: list[str]
    environment: dict[str, str]
    port: int
    notes: tuple[str, ...]


@click.command("run")
@click.option(
    "-f", "filename", required=True, type=click.File("r"), help="InferenceService, and runtimes, as YAML."
)
@click.option("--port", type=click.IntRange(1, 65535), help="Serve on this port instead of the container's.")
def run_command(filename: Any, port: int | None) -> None:
    """Serve an InferenceService as a process of this machine, without Kubernetes and without root."""
    try:
        isvc, runtimes = read(filename.read())
        process = host_process(isvc, runtimes, port, os.environ)
    except Invalid as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        sys.exit(2)
    except (NoRuntime, yaml.YAMLError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    for note in process.notes:
        click.echo(f"note: {note}", err=True)
    sys.exit(serve(process))


def read(text: str) -> tuple[Object, list[Object]]:
    """The InferenceService of a YAML text and its runtimes, those that Stoker ships last. Raises Invalid."""
    documents = [each for each in yaml.safe_load_all(text) if each]
    services = [
        each for each in documents if isinstance(each, dict) and each.get("kind") == "InferenceService"
    ]
    if len(services) != 1:
        found = f"one InferenceService is needed and {len(services)} are here"
        raise Invalid(FieldProblem("kind", "FieldValueInvalid", found))
    isvc = services[0]
    isvc.setdefault("metadata", {}).setdefault("namespace", "default")
    kinds = {"ServingRuntime", "ClusterServingRuntime"}
    runtimes = [each for each in documents if isinstance(each, dict) and each.get("kind") in kinds]
    for runtime in runtimes:
        if runtime["kind"] == "ServingRuntime":
            runtime.setdefault("metadata", {}).setdefault("namespace", isvc["metadata"]["namespace"])
    return isvc, runtimes + shipped()


def shipped() -> list[Object]:
    """The ClusterServingRuntimes of manifests/runtimes."""
    loaded = (yaml.safe_load(path.read_text()) for path in sorted(RUNTIMES.glob("*.yaml")))
    return [each for each in loaded if each.get("kind") == "ClusterServingRuntime"]


def host_process(
    isvc: Object, runtimes: list[Object], port: int | None, environ: Mapping[str, str]
) -> HostProcess:
    """Validate, select, render, and turn the model's container into a process. Raises Invalid, NoRuntime."""
    settings = Settings(file_uris=True, security="trusted")  # folder, code and flags are of one's own machine
    problems = [problem for runtime in runtimes for problem in validate_runtime(runtime, None).problems]
    if problems:
        raise Invalid(*problems)
    parsed = [parse_runtime(runtime) for runtime in runtimes]
    verdict = validate_inference_service(isvc, None, parsed, settings, args_schemas=args_schemas())
    if verdict.problems:
        raise Invalid(*verdict.problems)
    service = parse_inference_service(isvc)
    template = render(service, select_runtime(service, parsed).runtime, settings).template
    return as_process(template["spec"], port, environ, verdict.warnings)


def args_schemas() -> Mapping[str, Object]:
    """The shipped JSON Schemas of runtimes' arguments, by file name without ending."""
    return load_args_schemas(RUNTIMES / "args-schema")


def as_process(
    pod: Object, port: int | None, environ: Mapping[str, str], warnings: tuple[str, ...]
) -> HostProcess:
    """A pod's first container as a host process. Raises Invalid where it cannot be one."""
    container: Object = pod["containers"][0]
    own = str(container.get("image", "")).startswith(_OWN_IMAGE)
    command = list(container.get("command") or ([sys.executable, "-m", "runtime"] if own else []))
    if not command:
        field = "spec.predictor.containers[0].command"
        said = f"the entry point of image {container.get('image')} is not known here; give the command to run"
        raise Invalid(FieldProblem(field, "FieldValueRequired", said))
    arguments = [str(argument) for argument in container.get("args") or []]
    ports = container.get("ports") or [{"containerPort": 8080}]
    served = int(ports[0]["containerPort"])
    if port is not None and own:
        arguments.append(f"--http_port={port}")
    environment, notes = _environment(container, pod, environ)
    # As the kubelet does, from the container's own variables alone.
    own_variables = {name: environment[name] for name in _names(container) if name in environment}
    command = [expand(str(word), own_variables) for word in command]
    arguments = [expand(word, own_variables) for word in arguments]
    if port is not None and not own and port != served:
        notes.append(f"--port {port} is not known to this image; it listens on {served}")
        port = None
    if len(pod["containers"]) > 1:
        notes.append("only the first container is run: " + container["name"])
    if pod.get("initContainers"):
        left_out = ", ".join(each["name"] for each in pod["initContainers"])
        notes.append(f"{left_out} is not run: what it would fetch or prepare must be here already")
    return HostProcess([*command, *arguments], environment, port or served, (*warnings, *notes))


def _environment(
    container: Object, pod: Object, environ: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """The host's environment with the container's variables over it, and notes on those left out."""
    environment, notes = dict(environ), []
    earlier: dict[str, str] = {}
    # A host process has the host's folders: a variable that names a volume of the pod would name nothing.
    mounted = {mount["mountPath"] for mount in container.get("volumeMounts") or []}
    for variable in container.get("env") or []:
        name, value = variable["name"], variable.get("value")
        if "valueFrom" in variable:
            if name not in environ:
                notes.append(
                    f"env {name} is from a {next(iter(variable['valueFrom']))} of the cluster; set it here"
                )
        elif value in mounted:
            continue
        else:
            environment[name] = expand(str(value or ""), earlier)
        if name in environment:
            earlier[name] = environment[name]
    if any("persistentVolumeClaim" in volume for volume in pod.get("volumes") or []):
        notes.append("volumes of the cluster are not here")
    environment.setdefault("HF_HUB_CACHE", str(cache_from(environ) / "huggingface" / "hub"))
    return environment, notes


def _names(container: Object) -> list[str]:
    return [variable["name"] for variable in container.get("env") or []]


def serve(process: HostProcess) -> int:
    """Run the process to its end; SIGINT and SIGTERM drain it, a second one ends it at once."""
    click.echo(f"$ {' '.join(process.command)}", err=True)
    # A session of its own: Ctrl-C of the terminal reaches us alone, and we ask the process to drain.
    child = subprocess.Popen(process.command, env=process.environment, start_new_session=True)
    asked = 0

    def on_signal(_signum: int, _frame: object) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            click.echo("draining: answers under way are finished; once more ends it at once", err=True)
        child.send_signal(signal.SIGTERM if asked == 1 else signal.SIGKILL)

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, on_signal)
    threading.Thread(target=_announce, args=(process.port, child), daemon=True).start()
    code = child.wait()
    return 128 - code if code < 0 else code


def _announce(port: int, child: subprocess.Popen[bytes]) -> None:
    """Say once that the model answers, with a request to try."""
    url = f"http://127.0.0.1:{port}"
    while child.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/ready", timeout=2):  # noqa: S310 (a fixed http URL)
                click.echo(f"ready: curl {url}/openai/v1/models", err=True)
                return
        except (OSError, urllib.error.URLError):
            time.sleep(_READY_EVERY)
