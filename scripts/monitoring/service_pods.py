"""Of the dashboard of one InferenceService: its revisions, their starts, their pods."""

from __future__ import annotations

from scripts.monitoring.panels import Panel, Query, lines
from scripts.monitoring.promql import RATE, rate

IN = 'namespace=~"$namespace"'
NAMED = f'{IN},name=~"$service"'
SERVICE = f'{NAMED},revision=~"$revision"'
HTTP = "stoker_runtime_http_requests_total"
_START = 'phase!~"Ready|Draining|Failed"'


def revisions() -> list[Panel]:
    """How requests are shared, and whether that is changing."""
    traffic = f"stoker_inferenceservice_traffic_percent{{{NAMED}}}"
    began = f"stoker_inferenceservice_rollout_began_timestamp_seconds{{{NAMED}}}"
    return [
        lines(
            "Traffic split",
            "Percent of the requests that each revision is to get.",
            "percent",
            Query(f"max by (revision) ({traffic})", "{{revision}}"),
            width=8,
        ),
        lines(
            "Requests",
            "Per second, that each revision answered.",
            "reqps",
            Query(rate(HTTP, "revision", SERVICE), "{{revision}}"),
            width=8,
        ),
        lines(
            "Rollout under way",
            "For how long a new revision has been replacing an older one; 0 where none does.",
            "s",
            Query(f"time() - min by (name) ({began}) or 0 * max by (name) ({traffic})", "{{name}}"),
            width=8,
        ),
    ]


def cold_start() -> list[Panel]:
    """What a start spends its time on."""
    measured = f"stoker_inferenceservice_cold_start_seconds{{{NAMED}}}"
    return [
        lines(
            "First pod of the latest revision",
            "Where its start spent its time: a node, the image, the model, loading, the first answer.",
            "s",
            Query(f"max by (phase) ({measured})", "{{phase}}"),
        ),
        lines(
            "Seconds per phase of the server's start",
            "By pod, the phase that lasts included: a line that rises is a start under way.",
            "s",
            Query(
                f"max by (pod, phase) (stoker_runtime_phase_seconds{{{SERVICE},{_START}}})",
                "{{phase}}, {{pod}}",
            ),
        ),
        lines(
            "Progress",
            "Of the phase that a pod is in, where it is known: bytes fetched, weights loaded.",
            "percentunit",
            Query(f"max by (pod) (stoker_runtime_phase_progress_ratio{{{SERVICE}}})", "{{pod}}"),
            width=8,
        ),
        lines(
            "Pods by phase",
            "How many are in which phase.",
            "suffix: pods",
            Query(
                f"sum by (revision, phase) (stoker_runtime_phase{{{SERVICE}}}) > 0",
                "{{phase}}, {{revision}}",
            ),
        ),
        lines(
            "Replicas",
            "Ready ones of all revisions, and how many are wanted.",
            "suffix: pods",
            Query(f"max by (state) (stoker_inferenceservice_replicas{{{NAMED}}})", "{{state}}"),
            width=8,
        ),
        lines(
            "Ends of pods",
            "How many serve, still serve before their end, or only finish what they began.",
            "suffix: pods",
            Query(f"sum by (state) (stoker_runtime_drain_state{{{SERVICE}}})", "{{state}}"),
            width=8,
        ),
    ]


def pods() -> list[Panel]:
    """The servers' processes."""
    lag = f"rate(stoker_runtime_event_loop_lag_seconds_bucket{{{SERVICE}}}{RATE})"
    return [
        lines(
            "Event loop lag, p99",
            "How late the server's loop is: every stream of the pod waits that long.",
            "s",
            Query(f"histogram_quantile(0.99, sum by (pod, le) ({lag}))", "{{pod}}"),
            width=8,
        ),
        lines(
            "Memory",
            "Resident, of the server's process.",
            "bytes",
            Query(f"max by (pod) (process_resident_memory_bytes{{{SERVICE}}})", "{{pod}}"),
            width=8,
        ),
        lines(
            "CPU",
            "Cores, of the server's process.",
            "suffix: cores",
            Query(rate("process_cpu_seconds_total", "pod", SERVICE), "{{pod}}"),
            width=8,
        ),
    ]
