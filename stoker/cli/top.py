"""`stoker top`: each InferenceService's traffic, live."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence

import click

from stoker.cli.live.frame import Line, frame
from stoker.cli.live.rows import Row, document, lines, rows
from stoker.cli.live.scraping import Round, look
from stoker.cli.live.screen import Screen, screen
from stoker.kube.client import Client, ConnectionConfig, connect, current_namespace
from stoker.kube.errors import ApiError, ConfigInvalid, ConnectionFailed

_UNREADABLE = 2
_SORTS = ("name", "tokens", "requests", "ttft", "waiting", "errors")


@click.command("top")
@click.option("-n", "--namespace", help="Default: the context's.")
@click.option("-A", "--all-namespaces", is_flag=True)
@click.option("--once", is_flag=True, help="One table, of two scrapes, then end; so where it is no terminal.")
@click.option("--interval", type=click.FloatRange(0.5, 60), default=2.0, show_default=True, help="Seconds.")
@click.option("--sort", type=click.Choice(_SORTS), default="name", show_default=True)
@click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", help="json: once.")
@click.option("--kubeconfig", envvar="KUBECONFIG", metavar="FILE", help="Default: kubectl's own.")
def top_command(
    *,
    namespace: str | None,
    all_namespaces: bool,
    once: bool,
    interval: float,
    sort: str,
    output: str,
    kubeconfig: str | None,
) -> None:
    """Show tokens, requests, time to first token, queue and cache of each InferenceService.

    Numbers are of the last interval, summed over the pods, and come from the pods' own /metrics through the
    API server (pods/proxy): no Prometheus is needed. KV is the fullest pod's; ERR/S are answers with 5xx or
    429.
    """
    looked_at = None if all_namespaces else namespace or current_namespace(kubeconfig)
    view = _View(looked_at, interval, sort)
    try:
        if output == "json" or once or not _draws():
            found = asyncio.run(view.once(kubeconfig))
            shown = [json.dumps(document(found), indent=2)] if output == "json" else _plain(found, view)
            click.echo("\n".join(shown))
        else:
            asyncio.run(view.live(kubeconfig))
    except (ApiError, ConnectionFailed, ConfigInvalid) as fault:
        click.echo(f"error: the cluster cannot be asked: {fault}", err=True)
        sys.exit(_UNREADABLE)


class _View:
    """What is looked at, and how often. `namespace` None: all."""

    def __init__(self, namespace: str | None, interval: float, sort: str) -> None:
        self.namespace = namespace
        self._interval = interval
        self._sort = sort
        self._rows: list[Row] = []
        self._last: Round | None = None
        self._at = ""  # when it was, for people
        self._fault = ""

    async def once(self, kubeconfig: str | None) -> list[Row]:
        """Rows of two rounds, an interval apart."""
        async with connect(ConnectionConfig(kubeconfig, "stoker-top")) as client:
            before = await look(client, self.namespace)
            await asyncio.sleep(self._interval)
            return rows(before, await look(client, self.namespace), self._sort)

    async def live(self, kubeconfig: str | None) -> None:
        """A table that is drawn anew each interval, until q or Ctrl-C; below it why a round failed."""
        async with connect(ConnectionConfig(kubeconfig, "stoker-top")) as client:
            self._show(None, await look(client, self.namespace))
            with screen(self._lines) as shown:
                watching = asyncio.create_task(self._watch(client, shown))
                leaving = asyncio.create_task(shown.left.wait())
                try:
                    await asyncio.wait((watching, leaving), return_when=asyncio.FIRST_COMPLETED)
                    if watching.done():
                        watching.result()
                finally:
                    for task in (watching, leaving):
                        task.cancel()
                    await asyncio.gather(watching, leaving, return_exceptions=True)

    async def _watch(self, client: Client, shown: Screen) -> None:
        while True:
            await asyncio.sleep(self._interval)
            try:
                self._show(self._last, await look(client, self.namespace))
            except (ApiError, ConnectionFailed) as fault:
                self._fault = f"as of {self._at}: {' '.join(str(fault).split())}"
            shown.redraw()

    def _show(self, before: Round | None, now: Round) -> None:
        self._rows, self._last, self._fault = rows(before, now, self._sort), now, ""
        self._at = time.strftime("%X")

    def _lines(self, width: int, height: int) -> list[Line]:
        about = f"{self.namespace or 'all namespaces'}, every {self._interval:g} s, {self._at}; q leaves"
        namespaced = self.namespace is None
        return frame(self._rows, width, height, about=about, namespaced=namespaced, fault=self._fault)


def _draws() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _plain(found: Sequence[Row], view: _View) -> list[str]:
    if not found:
        return ["There is no InferenceService" + (f" in {view.namespace}" if view.namespace else "") + "."]
    return lines(found, namespaced=view.namespace is None)
