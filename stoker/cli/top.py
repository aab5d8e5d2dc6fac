"""`stoker top`: each InferenceService's traffic, live."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stoker.cli.live.rows import COLUMNS, Row, cells, document, lines, rows
from stoker.cli.live.scraping import Round, look
from stoker.kube.client import Client, ConnectionConfig, connect
from stoker.kube.errors import ApiError, ConfigInvalid, ConnectionFailed

_UNREADABLE = 2
_SORTS = ("name", "tokens", "requests", "ttft", "waiting", "errors")


@click.command("top")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("-A", "--all-namespaces", is_flag=True)
@click.option("--once", is_flag=True, help="One table, of two scrapes, then end; so where it is no terminal.")
@click.option("--interval", type=click.FloatRange(0.5, 60), default=2.0, show_default=True, help="Seconds.")
@click.option("--sort", type=click.Choice(_SORTS), default="name", show_default=True)
@click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", help="json: once.")
@click.option("--kubeconfig", envvar="KUBECONFIG", metavar="FILE", help="Default: kubectl's own.")
def top_command(
    *,
    namespace: str,
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
    view = _View(None if all_namespaces else namespace, interval, sort)
    try:
        if output == "json" or once or not sys.stdout.isatty():
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

    async def once(self, kubeconfig: str | None) -> list[Row]:
        """Rows of two rounds, an interval apart."""
        async with connect(ConnectionConfig(kubeconfig, "stoker-top")) as client:
            before = await look(client, self.namespace)
            await asyncio.sleep(self._interval)
            return rows(before, await look(client, self.namespace), self._sort)

    async def live(self, kubeconfig: str | None) -> None:
        """A table that is drawn anew each interval, until Ctrl-C. A round that fails is said below it."""
        console = Console(highlight=False)
        async with connect(ConnectionConfig(kubeconfig, "stoker-top")) as client:
            before = await look(client, self.namespace)
            found = rows(None, before, self._sort)
            with Live(self._table(found), console=console, auto_refresh=False, screen=True) as screen:
                while True:
                    await asyncio.sleep(self._interval)
                    now, fault = await self._try(client)
                    if now is not None:
                        found, before = rows(before, now, self._sort), now
                    screen.update(self._table(found, fault), refresh=True)

    async def _try(self, client: Client) -> tuple[Round | None, str]:
        try:
            return await look(client, self.namespace), ""
        except (ApiError, ConnectionFailed) as fault:
            return None, f"stale: {fault}"

    def _table(self, found: Sequence[Row], fault: str = "") -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold", caption=fault or None)
        for heading in COLUMNS:
            text = heading in ("NAME", "NOTE")
            table.add_column(heading, justify="left" if text else "right", no_wrap=not text)
        for row in found:
            texts = cells(row, namespaced=self.namespace is None)
            table.add_row(*map(Text, texts), style="" if row.ready else "red")
        return table


def _plain(found: Sequence[Row], view: _View) -> list[str]:
    if not found:
        return ["There is no InferenceService" + (f" in {view.namespace}" if view.namespace else "") + "."]
    return lines(found, namespaced=view.namespace is None)
