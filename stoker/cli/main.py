"""The `stoker` command: thin; what it does is in stoker.local and the programs it starts."""

from __future__ import annotations

import importlib
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stoker.cli import logs as component_logs
from stoker.local import building, cluster, programs
from stoker.local.cluster import ClusterConfig
from stoker.local.failures import LocalError
from stoker.local.home import home_from
from stoker.local.progress import Progress

_errors = Console(stderr=True, highlight=False, soft_wrap=True)
_INTERRUPTED = 130
_NEEDING_SERVING = ("doctor", "explain", "run", "top", "validate")


class _Commands(click.Group):
    """Says failures as problem, details and what to do next, without a traceback.

    Those of _NEEDING_SERVING are loaded when they are named: they alone need stoker.serving.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_NEEDING_SERVING])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _NEEDING_SERVING:
            module = importlib.import_module(f"stoker.cli.{cmd_name}")
            command: click.Command = getattr(module, f"{cmd_name}_command")
            return command
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        try:
            return super().invoke(ctx)
        except LocalError as failure:
            _errors.print(f"[bold red]Error:[/] {escape(failure.problem)}")
            if failure.details.strip():
                _errors.print(escape(failure.details.rstrip()), style="dim")
            _errors.print(escape(failure.remedy))
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(_INTERRUPTED)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    # `timeout` and service managers send SIGTERM; it must clean up as Ctrl-C does.
    raise KeyboardInterrupt


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stoker")
def main() -> None:
    """Serve LLMs on Kubernetes. STOKER_HOME names the local cluster that is meant."""


@main.command()
@click.option("--gpus", type=click.IntRange(0, 64), help="Make the node offer this many nvidia.com/gpu.")
@click.option("--domain", help="Domain of InferenceServices' hosts (example.com).")
@click.option(
    "--control-plane-only", is_flag=True, help="No node and no root: API server and Stoker's programs."
)
@click.option(
    "--prometheus/--no-prometheus",
    default=None,
    help="With a Prometheus that scrapes Stoker and its pods. It stays until --no-prometheus.",
)
def up(gpus: int | None, domain: str | None, control_plane_only: bool, prometheus: bool | None) -> None:
    """Start the local cluster with Stoker in it. Harmless when it is up already.

    Tried on Debian 12 with control groups v1 (hybrid). Control groups v2 with systemd is supported as
    well, from documentation; it has not been run yet.
    """
    progress = Progress()
    config = ClusterConfig(gpus, domain, control_plane_only, prometheus)
    record = cluster.up(config, progress)
    own = f"STOKER_HOME={shlex.quote(str(config.home.path))} " if "STOKER_HOME" in os.environ else ""
    progress.note(f"Up: {record.url}, gateway at http://{record.ingress_host}:{record.ingress_port}")
    if record.prometheus_url:
        progress.note(f"Prometheus at {record.prometheus_url}")
    progress.note(f'For kubectl and curl in this shell:  eval "$({own}{_self()} env)"')


@main.command()
def down() -> None:
    """Stop the local cluster and remove everything it made on the machine."""
    cluster.down(home_from(), Progress())


@main.command()
def status() -> None:
    """Say what runs and how it fares; exit 1 when something does not."""
    cluster.running(home_from())
    found = cluster.status(home_from())
    table = Table(box=None, pad_edge=False)
    for heading in ("COMPONENT", "STATE", "DETAIL"):
        table.add_column(heading, overflow="fold")
    for row in found.components:
        table.add_row(row.name, row.state, escape(row.detail))
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    out.print(table)
    record = cluster.running(home_from())
    out.print(f"\nAPI server {record.url}   gateway http://{record.ingress_host}:{record.ingress_port}")
    out.print(f"domain {record.domain}   GPUs {record.gpus}   home {home_from().path}")
    if record.prometheus_url:
        out.print(f"Prometheus {record.prometheus_url}")
    if not all(row.ready for row in found.components):
        sys.exit(1)


@main.command()
@click.argument("component", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines.")
@click.option("-n", "--lines", default=200, show_default=True, help="How many lines to begin with.")
def logs(component: str | None, follow: bool, lines: int) -> None:
    """Show the log of a component (`stoker logs` lists their names)."""
    config = ClusterConfig()
    if component is None:
        for name in component_logs.names(config):
            click.echo(name)
        return
    sys.exit(component_logs.show(config, component, follow=follow, lines=lines))


@main.command()
def env() -> None:
    """Print what kubectl and curl need: eval "$(stoker env)"."""
    home = home_from()
    record = cluster.running(home)
    kubectl = building.kubectl(Progress()).parent
    click.echo(environment(str(home.kubeconfig), record.ingress_host, record.ingress_port, kubectl))
    if record.prometheus_url:
        click.echo(f"export PROMETHEUS_URL={record.prometheus_url}")


def environment(kubeconfig: str, host: str, port: int, programs_folder: Path) -> str:
    """The shell lines of `stoker env`. PATH gets kubectl's folder where it does not have it yet."""
    path = os.environ.get("PATH", "").split(os.pathsep)
    if str(programs_folder) not in path:
        path.insert(0, str(programs_folder))
    values = {
        "KUBECONFIG": kubeconfig,
        "INGRESS_HOST": host,
        "INGRESS_PORT": str(port),
        "PATH": os.pathsep.join(path),
    }
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())


@main.command()
def load() -> None:
    """Make the running cluster use the checkout's code as it is now (seconds, no image build)."""
    for name in cluster.load(ClusterConfig(), Progress()):
        click.echo(f"restarted {name}")
    click.echo("Pods of InferenceServices keep the code that they started with; delete them to restart them.")


@main.command()
def binaries() -> None:
    """Find the Kubernetes programs, building them once where they are missing."""
    progress = Progress()
    for name, path in building.ensure(programs.NODE, progress).items():
        click.echo(f"{name:<24} {path}")
    click.echo(f"{'kubectl':<24} {building.kubectl(progress)}")


@main.group()
def model() -> None:
    """Stoker's own model cache."""


@model.command()
@click.argument("model_id", required=False)
def fetch(model_id: str | None) -> None:
    """Fetch a model into Stoker's cache (default: SmolLM2-135M-Instruct)."""
    command = [sys.executable, "-P", "-m", "runtime", "fetch", *([model_id] if model_id else [])]
    sys.exit(_foreground(command))


def _foreground(command: list[str]) -> int:
    """Run a program that has the terminal; Ctrl-C is the program's to answer."""
    process = subprocess.Popen(command)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def _self() -> str:
    program = Path(sys.argv[0])
    return str(program) if program.name == "stoker" else f"{sys.executable} -m stoker.cli.main"


if __name__ == "__main__":
    main()
