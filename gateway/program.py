"""The program: Envoy's control plane for all InferenceServices of a cluster."""

from __future__ import annotations

import argparse
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import structlog
import yaml

from gateway import bootstrap, traces
from gateway.bootstrap import LOOPBACK, Ports
from gateway.drain import DrainTimes, drain
from gateway.feed import Feed
from gateway.metrics import GatewayMetrics
from gateway.snapshot import Options
from gateway.traces import Traces
from gateway.views import INFERENCE_SERVICES, keep_inference_service, keep_pod
from gateway.xds import AdsServer
from stoker.configuration import add_settings_flags, read_settings
from stoker.kube import loop_lag
from stoker.kube.background import task_group
from stoker.kube.client import ConnectionConfig, connect
from stoker.kube.health import HealthServer
from stoker.kube.informer import Informer
from stoker.kube.program import configure_logging, run_until_signalled
from stoker.kube.resource import PODS
from stoker.serving.names import COMPONENT, COMPONENT_LABEL, INFERENCE_SERVICE_LABEL
from stoker.serving.problems import Invalid
from stoker.serving.settings import Settings

log = structlog.get_logger()

_PODS = f"{INFERENCE_SERVICE_LABEL},{COMPONENT_LABEL}={COMPONENT}"


def arguments() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description=__doc__)
    parser.add_argument("--kubeconfig", help="default: in-cluster, else kubectl's own default")
    parser.add_argument("--namespace", default="stoker-system", help="Stoker's own namespace")
    add_settings_flags(parser)
    parser.add_argument("--log-format", choices=("json", "console"))
    parser.add_argument("--health-port", type=int, default=8081, help="0: any free one")
    parser.add_argument("--listener-port", type=int, default=8000, help="where Envoy takes requests")
    parser.add_argument(
        "--xds-port", type=int, default=bootstrap.XDS_PORT, help="0: any free one; loopback only"
    )
    parser.add_argument("--envoy-admin-port", type=int, default=bootstrap.ADMIN_PORT)
    parser.add_argument("--envoy-stats-port", type=int, default=bootstrap.STATS_PORT)
    parser.add_argument("--bootstrap-out", type=Path, help="write Envoy's bootstrap for these ports here")
    parser.add_argument(
        "--default-host-fallback",
        action="store_true",
        help="a host outside the domain means the only InferenceService, where there is exactly one",
    )
    parser.add_argument("--access-log", action="store_true", help="Envoy logs each request as JSON to stdout")
    parser.add_argument(
        "--otlp-endpoint",
        metavar="URL",
        type=traces.endpoint,
        help="Envoy sends spans to this collector, http://HOST:4318 (OTLP over HTTP)",
    )
    parser.add_argument(
        "--trace-percent", type=traces.percent, default=100.0, help="of requests without a trace of their own"
    )
    parser.add_argument(
        "--drain-delay", type=float, default=0.0, help="seconds of serving on after SIGTERM, before draining"
    )
    parser.add_argument(
        "--drain-seconds",
        type=float,
        default=0.0,
        help="longest wait for requests under way; 0: do not drain",
    )
    return parser


async def serve(args: argparse.Namespace, settings: Settings) -> None:
    """Run until cancelled. Probes first, then the API server's view, then Envoy."""
    metrics = GatewayMetrics()
    ads = AdsServer(LOOPBACK, args.xds_port, metrics)
    metrics.watch_age(ads.seconds_behind)
    spans = Traces(args.otlp_endpoint, args.trace_percent) if args.otlp_endpoint else None
    options = Options(settings, args.listener_port, args.default_host_fallback, args.access_log, spans)
    missing = ["has no snapshot yet: waiting for the API server"]
    health = HealthServer(
        "0.0.0.0", args.health_port, live=list, ready=lambda: list(missing), metrics=metrics.text
    )
    config = ConnectionConfig(args.kubeconfig, f"stoker-gateway/{_version()}", "stoker-gateway")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(health.running())
        await stack.enter_async_context(loop_lag.sampled(metrics.loop_lag.observe))
        await stack.enter_async_context(ads.running())
        ports = Ports(ads.port, args.envoy_admin_port, args.envoy_stats_port)
        if args.bootstrap_out:
            args.bootstrap_out.write_text(bootstrap.text(ports))
        client = await stack.enter_async_context(connect(config))
        inference_services = Informer(client, INFERENCE_SERVICES, transform=keep_inference_service)
        pods = Informer(client, PODS, label_selector=_PODS, transform=keep_pod)
        feed = Feed(inference_services, pods, options, ads.publish, metrics)
        await stack.enter_async_context(inference_services.running())
        await stack.enter_async_context(pods.running())
        group = await stack.enter_async_context(task_group())
        running = group.create_task(feed.run(), name="feed")
        await feed.published.wait()
        missing.clear()
        try:
            await running
        finally:
            # Everything still runs here: pods come and go while the last streams end.
            if args.drain_seconds > 0:
                times = DrainTimes(args.drain_delay, args.drain_seconds)
                await drain(f"http://{LOOPBACK}:{args.envoy_admin_port}", times)
            running.cancel()


def _version() -> str:
    try:
        return version("stoker")
    except PackageNotFoundError:
        return "unknown"


def main() -> int:
    """The program; its exit status."""
    args = arguments().parse_args()
    configure_logging(None if args.log_format is None else args.log_format == "json")
    try:
        settings = read_settings(args.settings_file, args.domain)
    except (ValueError, OSError, Invalid, yaml.YAMLError) as error:
        log.error("cannot read the settings", file=str(args.settings_file), error=str(error))
        return 2
    return run_until_signalled(partial(serve, args, settings))
