"""A real Prometheus scrapes a server under load: every query of the dashboard Service answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import yaml

from scripts.monitoring import generated, rules
from stoker.local.prometheus.program import program
from tests.runtime.serving import Server, serve

_VLLM_ALONE = {"KV cache", "Preemptions", "Prefix cache"}
_ONLY_WHERE_IT_HAPPENS = {"Refused", "Clients that left"}
_CHOICES = {"$__rate_interval": "10s", "$namespace": ".*", "$service": "m", "$revision": ".*"}


async def test_the_dashboard_of_a_service_has_data(tmp_path: Path) -> None:
    panels = json.loads((generated.FOLDER / "dashboards/service.json").read_text())["panels"]
    wanted = {
        f"{panel['title']} {target['refId']}": _chosen(target["expr"])
        for panel in panels
        for target in panel.get("targets", [])
        if panel["title"] not in _VLLM_ALONE | _ONLY_WHERE_IT_HAPPENS
    }
    assert len(wanted) > 15
    async with serve() as server, asyncio.timeout(60):
        with _prometheus(server.url, tmp_path) as url:
            missing = set(wanted)
            while missing:
                await _ask(server)
                missing = {name for name in missing if not await _answers(server.http, url, wanted[name])}
            async with server.http.get(f"{url}/api/v1/rules") as answer:
                groups = (await answer.json())["data"]["groups"]
    assert sum(len(group["rules"]) for group in groups) == len(rules.rules())
    assert [rule for group in groups for rule in group["rules"] if rule["health"] == "err"] == []


def _chosen(expr: str) -> str:
    for variable, value in _CHOICES.items():
        expr = expr.replace(variable, value)
    return expr


async def _ask(server: Server) -> None:
    for streamed in (False, True):
        body = {"model": "m", "prompt": "a b", "max_tokens": 8, "stream": streamed}
        async with server.http.post(f"{server.url}/openai/v1/completions", json=body) as answer:
            await answer.read()
            assert answer.status == 200


async def _answers(http: aiohttp.ClientSession, url: str, query: str) -> bool:
    with contextlib.suppress(aiohttp.ClientConnectorError):  # it starts
        async with http.get(f"{url}/api/v1/query", params={"query": query}) as answer:
            if answer.status == 503:
                return False
            found = await answer.json()
            assert found["status"] == "success", found
            return any(sample["value"][1] != "NaN" for sample in found["data"]["result"])
    return False


@contextlib.contextmanager
def _prometheus(scraped: str, where: Path) -> Iterator[str]:
    labels = {"namespace": "a", "name": "m", "revision": "r1", "pod": "p"}
    target = {"targets": [scraped.removeprefix("http://")], "labels": labels}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules.RULES)],
        "scrape_configs": [{"job_name": "stoker-inferenceservices", "static_configs": [target]}],
    }
    (where / "prometheus.yaml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        listens = f"127.0.0.1:{free.getsockname()[1]}"
    command = [program("prometheus"), "--config.file=prometheus.yaml", f"--web.listen-address={listens}"]
    with (
        (where / "log").open("w") as log,
        subprocess.Popen(command, cwd=where, stdout=log, stderr=log) as run,
    ):
        try:
            yield f"http://{listens}"
        finally:
            run.terminate()
