"""How long admission takes: the webhook alone over TLS, and a whole create with and without it.

    .venv/bin/python -m bench.admission

Starts etcd, an API server and one webhook; fills them with 500 runtimes and 5,000 InferenceServices; replays
reviews at 50 a second as an API server would, on kept connections; then creates objects (dry runs) through
the API server, with the webhook registered and without. Prints figures and the ratio; exit 1 where the
webhook misses p50 <= 3 ms or p99 <= 10 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import platform
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench.replaying import replay
from bench.reviews import Object, cluster_runtime, inference_service, reviews, runtime
from stoker.kube.client import ApiError, Client, ConnectionConfig, connect
from stoker.kube.resource import NAMESPACES, VALIDATING_WEBHOOK_CONFIGURATIONS, Key, Resource
from stoker.local import building, control_plane, programs
from stoker.local.control_plane import ApiServer
from stoker.local.progress import Progress

ROOT = Path(__file__).parents[1]
SERVICES = Resource("serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService")
RUNTIMES = Resource("serving.kserve.io", "v1alpha1", "servingruntimes", "ServingRuntime")
CLUSTER_RUNTIMES = Resource(
    "serving.kserve.io", "v1alpha1", "clusterservingruntimes", "ClusterServingRuntime", namespaced=False
)
TEAMS = 20
P50_MS, P99_MS = 3.0, 10.0


@dataclass(frozen=True)
class Figures:
    """Milliseconds of each review or create; the webhook's memory in MiB, its CPU milliseconds a review."""

    webhook: list[float]
    whole: list[float]
    bare: list[float]
    memory: float
    cpu: float


def main(arguments: argparse.Namespace) -> int:
    with (
        control_plane.temporary(programs.find(programs.CONTROL_PLANE).paths) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        kubectl = [str(building.kubectl(Progress())), f"--kubeconfig={server.kubeconfig}"]
        for words in (
            ["apply", "--server-side", f"--kustomize={ROOT / 'manifests' / 'crds'}"],
            ["wait", "--for=condition=Established", "crd", "--all"],
        ):
            subprocess.run([*kubectl, *words], check=True, stdout=subprocess.DEVNULL, timeout=60)
        with (Path(folder) / "webhook.log").open("wb") as log:
            figures = asyncio.run(measure(arguments, server, log))
    return report(arguments, figures)


async def measure(arguments: argparse.Namespace, server: ApiServer, log: IO[bytes]) -> Figures:
    """All figures. Creates without the webhook come before and after those with it."""
    async with connect(ConnectionConfig(str(server.kubeconfig), field_manager="bench")) as client:
        await fill(client, arguments.runtimes, arguments.services)
        before = await creates(client, arguments.creates)
        process = await asyncio.create_subprocess_exec(*webhook_command(server), cwd=ROOT, stderr=log)
        try:
            webhook, cpu = await webhook_figures(client, process, arguments)
            whole = await creates(client, arguments.creates)
            memory = resident(process.pid)
        finally:
            process.kill()
            await process.wait()
        await unregistered(client)
        after = await creates(client, arguments.creates)
    return Figures(webhook, whole, [*before, *after], memory, cpu)


def webhook_command(server: ApiServer) -> list[str]:
    schemas = ROOT / "manifests" / "runtimes" / "args-schema"
    flags = ["--port=0", "--health-port=0", "--url=https://127.0.0.1:0", "--namespace=default"]
    return [
        sys.executable,
        "-m",
        "webhook",
        f"--kubeconfig={server.kubeconfig}",
        *flags,
        f"--args-schemas={schemas}",
    ]


async def fill(client: Client, runtimes: int, services: int) -> None:
    """All of it, spread over the teams' namespaces; one runtime in ten is the cluster's."""
    for team in range(TEAMS):
        await client.apply(NAMESPACES, {"metadata": {"name": f"team-{team}"}})
    await client.apply(CLUSTER_RUNTIMES, cluster_runtime())
    made: list[tuple[Resource, Object]] = []
    for number in range(runtimes - 1):
        cluster = number % 10 == 0
        namespace = "" if cluster else f"team-{number % TEAMS}"
        made.append((CLUSTER_RUNTIMES if cluster else RUNTIMES, runtime(f"runtime-{number}", namespace)))
    made += [
        (SERVICES, inference_service(f"service-{number}", f"team-{number % TEAMS}"))
        for number in range(services)
    ]
    limit = asyncio.Semaphore(32)

    async def create(resource: Resource, obj: Object) -> None:
        async with limit:
            await client.create(resource, obj)

    await asyncio.gather(*(create(resource, obj) for resource, obj in made))


async def webhook_figures(
    client: Client, process: asyncio.subprocess.Process, arguments: argparse.Namespace
) -> tuple[list[float], float]:
    """Milliseconds of each replayed review, and of the process's CPU for one."""
    url, bundle = await registered(client, process)
    host, port = url.removeprefix("https://").split("/")[0].split(":")
    context = ssl.create_default_context(cadata=bundle)
    bodies = [json.dumps(each).encode() for each in reviews(TEAMS)]

    def replayed(seconds: float) -> Coroutine[None, None, list[float]]:
        address = (host, int(port))
        return asyncio.to_thread(replay, address, context, bodies, rate=arguments.rate, seconds=seconds)

    await replayed(arguments.warmup)
    before = used(process.pid)
    taken = await replayed(arguments.seconds)
    return taken, (used(process.pid) - before) * 1000 / len(taken)


def used(pid: int) -> float:
    """Seconds of CPU that the process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MiB of memory that the process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


async def registered(client: Client, process: asyncio.subprocess.Process) -> tuple[str, str]:
    """URL and CA bundle, once the API server asks."""
    bad = inference_service("probe", "team-0")
    bad["spec"]["predictor"]["model"]["args"].append("--no-such-flag")
    while True:
        assert process.returncode is None, "the webhook ended"
        try:
            await client.create(SERVICES, bad, dry_run=True)
        except ApiError as error:
            if "denied the request" in error.message:
                break
        await asyncio.sleep(0.2)
    live = await client.get(VALIDATING_WEBHOOK_CONFIGURATIONS, Key("", "stoker.dev"))
    config = live["webhooks"][0]["clientConfig"]
    return config["url"], base64.b64decode(config["caBundle"]).decode()


async def creates(client: Client, count: int) -> list[float]:
    """Milliseconds of each of `count` creates at the API server, one after the other."""
    taken = []
    for number in range(count):
        obj = inference_service(f"new-{number}", f"team-{number % TEAMS}")
        begun = time.perf_counter()
        await client.create(SERVICES, obj, dry_run=True)
        taken.append((time.perf_counter() - begun) * 1000)
    return taken


async def unregistered(client: Client) -> None:
    """Return once the API server asks no webhook any more."""
    await client.delete(VALIDATING_WEBHOOK_CONFIGURATIONS, Key("", "stoker.dev"))
    while True:
        try:
            await creates(client, 1)
        except ApiError:
            await asyncio.sleep(0.2)
        else:
            return


def report(arguments: argparse.Namespace, figures: Figures) -> int:
    cores = len(os.sched_getaffinity(0))
    print(
        f"{cores} cores, Python {platform.python_version()}, {arguments.runtimes} runtimes,"
        f" {arguments.services} InferenceServices; the webhook holds {figures.memory:.0f} MiB"
        f" and needs {figures.cpu:.2f} ms of CPU for a review"
    )
    print(f"{'milliseconds':<44}{'count':>7}{'p50':>9}{'p99':>9}{'max':>9}")
    for name, taken in (
        (f"webhook over TLS, {arguments.rate} reviews a second", figures.webhook),
        ("create at the API server, with the webhook", figures.whole),
        ("create at the API server, without", figures.bare),
    ):
        middle, slow = percentile(taken, 50), percentile(taken, 99)
        print(f"{name:<44}{len(taken):>7}{middle:>9.2f}{slow:>9.2f}{max(taken):>9.2f}")
    ratio = percentile(figures.whole, 50) / percentile(figures.bare, 50)
    print(f"a create with the webhook takes {ratio:.2f} times as long as one without")
    return int(percentile(figures.webhook, 50) > P50_MS or percentile(figures.webhook, 99) > P99_MS)


def percentile(taken: Sequence[float], part: float) -> float:
    ordered = sorted(taken)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part / 100))]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runtimes", type=int, default=500)
    parser.add_argument("--services", type=int, default=5000)
    parser.add_argument("--rate", type=int, default=50, help="reviews a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--warmup", type=float, default=5)
    parser.add_argument("--creates", type=int, default=300)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(_arguments()))
