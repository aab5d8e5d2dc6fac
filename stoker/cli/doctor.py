"""`stoker doctor`: names the first thing that is broken, the command that shows it, and what to do."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

import click

from stoker.cli.diagnosis import installation, served
from stoker.cli.diagnosis.facts import Denied, Served, Unseen
from stoker.cli.diagnosis.findings import Finding, Level, broken, skipped
from stoker.cli.diagnosis.gathering import Target, find_services, look_at_installation, look_at_services
from stoker.kube.client import ConnectionConfig, connect, current_namespace
from stoker.kube.errors import ApiError, ConfigInvalid, ConnectionFailed

_STOKER_SECONDS = 60
_SERVICES_SECONDS = 120
_COLOURS = {Level.FINE: "green", Level.WAITING: "yellow", Level.SKIPPED: "yellow", Level.BROKEN: "red"}


@click.command("doctor")
@click.argument("name", required=False)
@click.option("-n", "--namespace", help="Of NAME (default: the context's); without NAME: of all.")
@click.option("--kubeconfig", envvar="KUBECONFIG", metavar="FILE", help="Default: kubectl's own.")
@click.option("--system-namespace", default="stoker-system", show_default=True, help="Stoker's own.")
@click.option(
    "--gateway",
    metavar="URL",
    help="Where requests are sent. Default: $INGRESS_HOST:$INGRESS_PORT, else through the API server.",
)
@click.option("--ask", is_flag=True, help="Ask each ready model for one token too.")
def doctor_command(
    *,
    name: str | None,
    namespace: str | None,
    kubeconfig: str | None,
    system_namespace: str,
    gateway: str | None,
    ask: bool,
) -> None:
    """Walk from the API server to an answer, and name the first thing that is broken.

    Stoker first (CRDs, controller, webhook, gateway), then NAME, or every InferenceService: what was
    accepted, its runtime, revision, pods, endpoints, and one real request. It only reads; what your account
    may not read is said and passed over.

    Exit status: 0 nothing is broken, 1 something is.
    """
    target = Target(system_namespace, _gateway(gateway), ask)
    wrong = False
    if name is not None and namespace is None:
        namespace = current_namespace(kubeconfig)
    for subject, finding in asyncio.run(_examine(kubeconfig, target, namespace, name)):
        wrong = wrong or finding.level is Level.BROKEN
        for line in text(subject, finding):
            click.echo(line)
    sys.exit(1 if wrong else 0)


def text(subject: str, finding: Finding) -> Iterator[str]:
    """One line, and two more for what a person has to look at."""
    mark = click.style(f"{finding.level.value:<6}", fg=_COLOURS[finding.level])
    step = f"{finding.step}: " if finding.level is not Level.FINE and finding.step else ""
    yield f"{mark} {subject}: {step}{finding.words}"
    if finding.level is Level.FINE:
        return
    if finding.see:
        yield f"       see  {finding.see}"
    if finding.do and finding.level is Level.BROKEN:
        yield f"       do   {finding.do}"


async def _examine(
    kubeconfig: str | None, target: Target, namespace: str | None, name: str | None
) -> Sequence[tuple[str, Finding]]:
    """By subject what was found: what was seen before something failed is kept."""
    found: list[tuple[str, Finding]] = []
    try:
        config = ConnectionConfig(kubeconfig, "stoker-doctor", field_manager="stoker")
        async with connect(config) as client:
            async with asyncio.timeout(_STOKER_SECONDS):
                walked = _named(installation.walk(await look_at_installation(client, target)))
                found += [(each.step, replace(each, step="")) for each in walked]
                if any(each.level is Level.BROKEN and what == "CRDs" for what, each in found):
                    return found
                services = await find_services(client, namespace, name)
            if isinstance(services, Denied):
                whose = "" if namespace else "; name a namespace that is yours: -n NAMESPACE"
                found.append((_where(namespace), skipped("", Denied(services.words + whose))))
            elif not services:
                words = f"there is no InferenceService {_in(namespace)}; docs/api.md shows one"
                found.append((_where(namespace), Finding(Level.FINE, "", words)))
            else:
                seen = await look_at_services(client, target, services, _SERVICES_SECONDS)
                found += [(_called(each), served.walk(each)) for each in seen]
    except ConfigInvalid as error:
        found.append(("API server", broken("", str(error), "kubectl config view", "name a kubeconfig")))
    except (ConnectionFailed, TimeoutError) as error:
        words = str(error) or f"no answer in {_STOKER_SECONDS} s"
        found.append(("API server", broken("", words, "kubectl get --raw /readyz")))
    except ApiError as error:
        found.append(_refused(error, namespace, name))
    return found


def _named(findings: Iterator[Finding]) -> Iterator[Finding]:
    yield Finding(Level.FINE, "API server", "reachable")
    yield from findings


def _refused(error: ApiError, namespace: str | None, name: str | None) -> tuple[str, Finding]:
    if error.is_not_found and name is not None:
        words = f"there is no InferenceService {name} in namespace {namespace}"
        return f"{namespace}/{name}", broken("", words, f"kubectl get isvc -n {namespace}")
    if error.status == 401:
        return "API server", broken("", f"it does not know you: {error.message}", "kubectl auth whoami")
    see = "kubectl get isvc " + (f"-n {namespace}" if namespace else "-A")
    return "API server", broken("", f"it refuses: {error.message}", see)


def _where(namespace: str | None) -> str:
    return namespace or "all namespaces"


def _in(namespace: str | None) -> str:
    return f"in namespace {namespace}" if namespace else "in any namespace"


def _called(each: Served | Unseen) -> str:
    return f"{each.isvc['metadata']['namespace']}/{each.isvc['metadata']['name']}"


def _gateway(given: str | None) -> str:
    if given:
        return given.rstrip("/")
    host, port = os.environ.get("INGRESS_HOST"), os.environ.get("INGRESS_PORT", "80")
    return f"http://{host}:{port}" if host else ""
