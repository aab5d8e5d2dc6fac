"""A real Prometheus scrapes a server under load and a controller: the dashboards' queries answer."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import yaml

from controller.metrics import Metrics
from scripts.monitoring import listing, rules
from stoker.kube.health import HealthServer
from stoker.local.prometheus.program import program
from tests.ports import free_port
from tests.runtime.serving import Server, serve

_NOT_OF_ECHO = {"KV cache", "Preemptions", "Prefix cache"}
_GATEWAYS = {"Answers to clients", "Connections"}
_ONLY_WHERE_IT_HAPPENS = {"Clients that left"}
_OBJECTIVES = {"stoker.dev/objective-availability": "99.5", "stoker.dev/objective-ttft-seconds": "0.001"}


async def test_the_dashboards_of_services_have_data(tmp_path: Path) -> None:
    wanted = {
        f"{panel.dashboard}: {panel.title} {query.ref_id}": listing.chosen(
            query.expr, interval="10s", window="1m", service="m"
        )
        for panel in listing.panels()
        for query in panel.queries
        if panel.dashboard != "control-plane"
        if panel.title not in _NOT_OF_ECHO | _GATEWAYS | _ONLY_WHERE_IT_HAPPENS
    }
    assert len(wanted) > 50
    burns = 'stoker:inferenceservice_first_token:burn5m{le="0.001",name="m",namespace="a"} > 0'
    wanted["the recorded burn rate"] = burns
    async with (
        serve("--echo_token_seconds=0.005") as server,
        _controller() as controller,
        asyncio.timeout(90),
    ):
        with _prometheus(server.url, controller, tmp_path) as url:
            missing = set(wanted)
            while missing:
                await _ask(server)
                missing = {name for name in missing if not await _answers(server.http, url, wanted[name])}
            async with server.http.get(f"{url}/api/v1/rules") as answer:
                groups = (await answer.json())["data"]["groups"]
    assert sum(len(group["rules"]) for group in groups) == len(rules.rules())
    assert [rule for group in groups for rule in group["rules"] if rule["health"] == "err"] == []


@contextlib.asynccontextmanager
async def _controller() -> AsyncIterator[str]:
    """What a controller tells of the InferenceService `a/m`, which has just been rolled out."""
    metrics = Metrics()
    metadata = {"namespace": "a", "name": "m", "annotations": _OBJECTIVES}
    metadata["creationTimestamp"] = "2026-01-01T00:00:00Z"
    kinds = ("Ready", "PredictorReady", "IngressReady", "LatestDeploymentReady")
    traffic = [{"revisionName": "r1", "percent": 100}]
    status = {
        "conditions": [{"type": kind, "status": "True", "reason": "Ready"} for kind in kinds],
        "components": {
            "predictor": {"latestCreatedRevision": "r1", "latestRolledoutRevision": "r1", "traffic": traffic}
        },
        "summary": {"replicas": "1/1"},
        "coldStart": {"scheduledSeconds": 1.0, "loadedSeconds": 9.0},
    }
    metrics.services.judged({"metadata": metadata}, status, "Complete", 1_800_000_000.0)
    health = HealthServer("127.0.0.1", 0, live=list, ready=list, metrics=metrics.exposition)
    async with health.running():
        yield f"127.0.0.1:{health.port}"


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
def _prometheus(scraped: str, controller: str, where: Path) -> Iterator[str]:
    labels = {"namespace": "a", "name": "m", "revision": "r1", "pod": "p"}
    target = {"targets": [scraped.removeprefix("http://")], "labels": labels}
    # Recorded as often as scraped: at 30 s the test would wait for minutes.
    (where / "rules.yaml").write_text(rules.RULES.read_text().replace("interval: 30s", "interval: 1s"))
    own = {
        "job_name": "stoker-controller",
        "honor_labels": True,
        "static_configs": [{"targets": [controller]}],
    }
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": "stoker-inferenceservices", "static_configs": [target]}, own],
    }
    (where / "prometheus.yaml").write_text(yaml.safe_dump(config))
    listens = f"127.0.0.1:{free_port()}"
    command = [program("prometheus"), "--config.file=prometheus.yaml", f"--web.listen-address={listens}"]
    with (
        (where / "log").open("w") as log,
        subprocess.Popen(command, cwd=where, stdout=log, stderr=log) as run,
    ):
        try:
            yield f"http://{listens}"
        finally:
            run.terminate()
