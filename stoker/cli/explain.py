"""`stoker explain`: which runtime, why, and where every value of the pods comes from; applies nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from stoker.cli.run import args_schemas, read
from stoker.cli.validation import cluster
from stoker.configuration import read_settings
from stoker.kube.errors import ApiError, ConfigInvalid, ConnectionFailed
from stoker.serving.admission.validate import Verdict, validate_inference_service
from stoker.serving.api.objects import ServingRuntime, parse_inference_service, read_runtime
from stoker.serving.problems import Invalid
from stoker.serving.rendering.origins import Origin, origins
from stoker.serving.rendering.render import render
from stoker.serving.rendering.selection import Candidate, NoRuntime, select_runtime
from stoker.serving.rollouts import children
from stoker.serving.rollouts.revisions import RuntimeReference, make_revision
from stoker.serving.settings import Settings

Object = dict[str, Any]

_REFUSED, _UNREADABLE = 1, 2
_LIVE_SECONDS = 30


@dataclass(frozen=True)
class Explanation:
    """`objects`: as a first revision would have them; none, and no origins, where nothing can be rendered."""

    name: str
    candidates: Sequence[Candidate]
    verdict: Verdict
    origins: Sequence[Origin] = ()
    objects: Sequence[Object] = ()


@click.command("explain")
@click.argument("name", required=False)
@click.option("-f", "filename", type=click.File("r"), help="InferenceService, and runtimes, as YAML.")
@click.option(
    "--kubeconfig",
    envvar="KUBECONFIG",
    metavar="FILE",
    help="For NAME: the cluster that has it and its runtimes. With -f the shipped runtimes are used.",
)
@click.option("-n", "--namespace", default="default", show_default=True, help="Of NAME.")
@click.option("--settings-file", type=Path, metavar="FILE", help="The installation's settings, as YAML.")
def explain_command(
    name: str | None, filename: Any, kubeconfig: str | None, namespace: str, settings_file: Path | None
) -> None:
    """Say which runtime an InferenceService gets and why, what is made of it, and where each value is from.

    Of a file (-f), or of NAME on a cluster: then it is what a new revision would be; pods that run keep what
    their revision stored. The output is YAML: the objects, and all explanations as comments.

    Exit status: 0 it would be stored, 1 something would be refused, 2 the input could not be read.
    """
    if (name is None) == (filename is None):
        raise click.UsageError("give either -f FILE or NAME")
    try:
        settings = read_settings(settings_file)
        if name is None:
            isvc, runtimes = read(filename.read())
            surroundings = cluster.Surroundings(runtimes)
        else:
            isvc, surroundings = asyncio.run(
                asyncio.wait_for(cluster.look_at(kubeconfig or "", namespace, name), _LIVE_SECONDS)
            )
        told = explain(isvc, surroundings, settings)
    except (Invalid, ValueError, OSError, yaml.YAMLError) as fault:
        click.echo(f"error: {fault}", err=True)
        sys.exit(_UNREADABLE)
    except (ApiError, ConnectionFailed, ConfigInvalid, TimeoutError) as fault:
        click.echo(f"error: the cluster cannot be asked: {fault or 'no answer in time'}", err=True)
        sys.exit(_UNREADABLE)
    click.echo("\n".join(text(told)))
    sys.exit(0 if told.verdict.allowed else _REFUSED)


def explain(isvc: Object, surroundings: cluster.Surroundings, settings: Settings) -> Explanation:
    """Select, judge and render, and keep the reasons. Raises Invalid where the objects cannot be read."""
    parsed = parse_inference_service(isvc)
    runtimes, unread = _readable(surroundings.runtimes)
    verdict = validate_inference_service(
        isvc,
        None,
        runtimes,
        settings,
        args_schemas=args_schemas(),
        largest_devices=surroundings.largest_devices,
        namespace_labels=surroundings.namespace_labels.get(parsed.namespace, {}),
    )
    name = f"{parsed.namespace}/{parsed.name}"
    try:
        selection = select_runtime(parsed, runtimes)
    except NoRuntime as error:
        return Explanation(name, (*error.considered, *unread), verdict)
    candidates = (*selection.considered, *unread)
    try:
        rendered = render(parsed, selection.runtime, settings)
    except Invalid:
        return Explanation(name, candidates, verdict)  # the verdict holds why
    reference = RuntimeReference.to(selection.runtime) if selection.runtime else None
    revision = make_revision(
        parsed.name, 1, template=rendered.template, inputs=rendered.inputs, runtime=reference
    )
    replicas = max(1, parsed.predictor.min_replicas)
    objects = [
        children.deployment(parsed, revision, replicas, settings),
        children.service(parsed, revision),
        *([children.disruption_budget(parsed)] if replicas > 1 else []),
    ]
    sources = origins(parsed, selection.runtime, rendered)
    return Explanation(name, candidates, verdict, sources, objects)


def _readable(objects: Sequence[Object]) -> tuple[list[ServingRuntime], list[Candidate]]:
    """The runtimes that can be read, and those that cannot: one that is broken says nothing of the others."""
    runtimes, unread = [], []
    for each in objects:
        runtime, problems = read_runtime(each)
        if problems:
            unread.append(Candidate(runtime.name, runtime.scope, f"it cannot be read: {problems[0]}"))
        else:
            runtimes.append(runtime)
    return runtimes, unread


def text(told: Explanation) -> Iterator[str]:
    """The lines of the output."""
    yield f"# InferenceService {told.name}"
    yield from _section("Runtimes", map(str, told.candidates))
    yield from _section("Refused", map(str, told.verdict.problems))
    yield from _section("Warnings", told.verdict.warnings)
    shown = [(f"{each.path} = {_short(each.value)}", each.source) for each in told.origins]
    width = min(90, max((len(value) for value, _ in shown), default=0))
    yield from _section("The pod, and where it comes from", (f"{v:<{width}}  {s}" for v, s in shown))
    for each in told.objects:
        yield "---"
        yield yaml.dump(each, Dumper=_Plain, sort_keys=False, width=10_000, allow_unicode=True).rstrip()


def _section(title: str, lines: Iterator[str] | Sequence[str]) -> Iterator[str]:
    # A line of somebody's label must not end the comment.
    listed = [f"#   {' '.join(line.splitlines())}".rstrip() for line in lines]
    if listed:
        yield f"#\n# {title}:"
        yield from listed


def _short(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return " ".join(value)
    return str(value)


class _Plain(yaml.SafeDumper):
    """Without anchors: the output is for reading."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
