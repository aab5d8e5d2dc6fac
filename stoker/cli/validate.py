"""`stoker validate -f file.yaml`: the webhook's verdict without a cluster, for editors and pipelines."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import yaml

from stoker.cli.run import args_schemas, shipped
from stoker.cli.validation import cluster
from stoker.cli.validation.documents import Document, Unreadable, read_documents
from stoker.cli.validation.judging import Judge, Judged
from stoker.configuration import read_settings
from stoker.kube.errors import ApiError, ConfigInvalid, ConnectionFailed
from stoker.serving.problems import Invalid

_REFUSED, _UNREADABLE = 1, 2
_LIVE_SECONDS = 30


@click.command("validate")
@click.option(
    "-f",
    "files",
    required=True,
    multiple=True,
    metavar="FILE",
    help="YAML or JSON with any number of documents; a folder of such; - for the standard input.",
)
@click.option(
    "--runtimes",
    "runtime_files",
    multiple=True,
    metavar="FILE",
    help="Runtimes that the cluster has. Default: those that Stoker ships.",
)
@click.option(
    "--kubeconfig", metavar="FILE", help="Take runtimes, namespaces and nodes from this live cluster instead."
)
@click.option("-n", "--namespace", default="default", show_default=True, help="Of objects that name none.")
@click.option("--settings-file", type=Path, metavar="FILE", help="The installation's settings, as YAML.")
def validate_command(
    files: Sequence[str],
    runtime_files: Sequence[str],
    kubeconfig: str | None,
    namespace: str,
    settings_file: Path | None,
) -> None:
    """Say what a cluster would refuse, all of it, before anything is applied.

    Checks the CRDs' schemas (unknown fields, types, bounds) and every rule of the webhook. Only an API
    server can run the CRDs' CEL rules and the admission policy; what they hold is among the webhook's rules
    as well. Objects of other kinds are passed over.

    Exit status: 0 all would be stored, 1 something would be refused, 2 the input could not be read.
    """
    try:
        documents = _read(files)
        surroundings = _surroundings(runtime_files, kubeconfig)
        settings = read_settings(settings_file)
    except (Unreadable, OSError, UnicodeDecodeError, Invalid, ValueError, yaml.YAMLError) as fault:
        click.echo(f"error: {fault}", err=True)
        sys.exit(_UNREADABLE)
    except (ApiError, ConnectionFailed, ConfigInvalid, TimeoutError) as fault:
        click.echo(f"error: the cluster cannot be asked: {fault or 'no answer in time'}", err=True)
        sys.exit(_UNREADABLE)
    judged = Judge(surroundings, settings, args_schemas(), namespace=namespace).judge(documents)
    for each in judged:
        _print(each)
    sys.exit(_conclude(judged))


def _read(files: Sequence[str]) -> list[Document]:
    found: list[Document] = []
    for file in files:
        if file == "-":
            found += read_documents("stdin", sys.stdin.read())
            continue
        path = Path(file)
        inside = (
            sorted(each for each in path.iterdir() if each.suffix in (".yaml", ".yml", ".json"))
            if path.is_dir()
            else [path]
        )
        for each in inside:
            found += read_documents(str(each), each.read_text(encoding="utf-8"))
    return found


def _surroundings(runtime_files: Sequence[str], kubeconfig: str | None) -> cluster.Surroundings:
    found = cluster.Surroundings()
    if kubeconfig is not None:
        found = asyncio.run(asyncio.wait_for(cluster.look(kubeconfig), _LIVE_SECONDS))
    given = [document.value for document in _read(runtime_files)]
    if kubeconfig is None and not runtime_files:
        given = shipped()
    return dataclasses.replace(found, runtimes=(*found.runtimes, *given))


def _print(judged: Judged) -> None:
    """One line for each problem, as compilers write them, so that editors can jump there."""
    document, verdict = judged.document, judged.verdict
    name = _named(document)
    if verdict is None:
        click.echo(f"{document.file}:{document.line('')}: {name}: passed over: not a kind of Stoker's")
        return
    for problem in verdict.problems:
        click.echo(f"{document.file}:{document.line(problem.field)}: {name}: {problem}")
    for warning in verdict.warnings:
        field = warning.partition(": ")[0]
        click.echo(f"{document.file}:{document.line(field)}: {name}: warning: {warning}")


def _named(document: Document) -> str:
    metadata = document.value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"document {document.number}, {document.value.get('kind')} {name or '(no name)'}"


def _conclude(judged: Sequence[Judged]) -> int:
    checked = [each.verdict for each in judged if each.verdict is not None]
    refused = [verdict for verdict in checked if not verdict.allowed]
    if not checked:
        click.echo("error: there is no InferenceService and no runtime in the input", err=True)
        return _UNREADABLE
    problems = sum(len(verdict.problems) for verdict in refused)
    objects = "1 object" if len(checked) == 1 else f"{len(checked)} objects"
    if refused:
        click.echo(f"{len(refused)} of {objects} would be refused, for {problems} problems", err=True)
        return _REFUSED
    click.echo(f"{objects} would be stored", err=True)
    return 0
