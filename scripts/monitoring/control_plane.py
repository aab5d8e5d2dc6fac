"""The dashboard of the control plane: controller, webhook, gateway."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from scripts.monitoring.panels import Panel, Query, lines, number, page

_RECONCILE = "controller_runtime_reconcile_time_seconds"
_OURS = 'job=~"stoker-(controller|webhook|gateway)"'
_REVIEW = "stoker_webhook_review_duration_seconds"


def control_plane() -> Dashboard:
    """Is Stoker itself well?"""
    rows = [("Now", _now()), ("Controller", _controller()), ("Webhook", _webhook()), ("Gateway", _gateway())]
    tells = "Stoker itself: does it reconcile, judge and push, and how fast?"
    return page("stoker-control-plane", "Stoker / Control plane", tells, [], rows)


def _now() -> list[Panel]:
    ends = "min(stoker_webhook_certificate_expiry_timestamp_seconds) - time()"
    return [
        number(
            "Leaders",
            "Controllers that lead: one.",
            "none",
            Query("sum(stoker_controller_leader)", "leaders"),
        ),
        number(
            "Certificate ends in",
            "The webhook's first to end; renewed days before.",
            "s",
            Query(ends, "left"),
        ),
        number(
            "Slowest Envoy",
            "How long it has lacked the latest configuration.",
            "s",
            Query("max(stoker_gateway_snapshot_age_seconds)", "behind"),
        ),
        number(
            "Envoys",
            "Connected to a gateway.",
            "none",
            Query("sum(stoker_gateway_connected_envoys)", "Envoys"),
        ),
        number(
            "Cannot be rendered",
            "InferenceServices with a wrong spec.",
            "none",
            Query("sum(stoker_controller_spec_problems)", "objects"),
        ),
        number(
            "Hosts taken",
            "InferenceServices whose host is another's.",
            "none",
            Query("max(stoker_gateway_inferenceservices_without_host)", "objects"),
        ),
    ]


def _controller() -> list[Panel]:
    return [
        lines(
            "Reconciles",
            "Per second, by how they ended.",
            "none",
            Query(_rate("controller_runtime_reconcile_total", "result"), "{{result}}"),
        ),
        lines(
            "Seconds per reconcile",
            "A reconcile reads from memory and writes what differs.",
            "s",
            *_percentiles(_RECONCILE),
        ),
        lines(
            "Queue",
            "Keys that wait for a worker, and workers at work.",
            "none",
            Query("sum by (controller) (workqueue_depth)", "waiting, {{controller}}"),
            Query("sum by (controller) (controller_runtime_active_workers)", "in work, {{controller}}"),
        ),
        lines(
            "Wait in the queue",
            "Of a key, until a worker takes it.",
            "s",
            *_percentiles("workqueue_queue_duration_seconds"),
        ),
        lines(
            "Time to ready",
            "From an InferenceService's creation until it was first ready.",
            "s",
            *_percentiles("stoker_inferenceservice_time_to_ready_seconds", "1h"),
        ),
        lines(
            "State documents",
            "Asked of pods, per second, by what came of it.",
            "none",
            Query(_rate("stoker_controller_state_polls_total", "result"), "{{result}}"),
        ),
        lines(
            "Wrong specs",
            "InferenceServices that cannot be rendered, by reason.",
            "none",
            Query("sum by (reason) (stoker_controller_spec_problems)", "{{reason}}"),
        ),
        lines(
            "Memory",
            "Resident, by program.",
            "bytes",
            Query(
                f"max by (job, pod) (process_resident_memory_bytes{{{_OURS}}})",
                "{{job}}, {{pod}}",
            ),
        ),
    ]


def _webhook() -> list[Panel]:
    return [
        lines(
            "Reviews",
            "Per second, by verdict. Unjudged: a rule of ours failed.",
            "none",
            Query(_rate("stoker_webhook_reviews_total", "verdict"), "{{verdict}}"),
        ),
        lines(
            "Seconds per review",
            "The API server waits for it with every change of an object.",
            "s",
            *_percentiles(_REVIEW),
        ),
        lines(
            "Problems",
            "In refusals, per second, by reason.",
            "none",
            Query(_rate("stoker_webhook_problems_total", "reason"), "{{reason}}"),
        ),
        lines(
            "Runtimes",
            "That reviews are judged with; unreadable ones are left out.",
            "none",
            Query("max by (state) (stoker_webhook_runtimes)", "{{state}}"),
        ),
    ]


def _gateway() -> list[Panel]:
    return [
        lines(
            "Behind",
            "How long the slowest Envoy has lacked the latest configuration.",
            "s",
            Query("max by (pod) (stoker_gateway_snapshot_age_seconds)", "{{pod}}"),
        ),
        lines(
            "Seconds per push",
            "From a new configuration until an Envoy had accepted all of it.",
            "s",
            *_percentiles("stoker_gateway_push_seconds"),
        ),
        lines(
            "Pushes",
            "Sent per second, by type of resource, and those refused.",
            "none",
            Query(_rate("stoker_gateway_pushes_total", "type"), "{{type}}"),
            Query(_rate("stoker_gateway_refused_pushes_total", "type"), "refused, {{type}}"),
        ),
        lines(
            "Resources",
            "In the latest configuration.",
            "none",
            Query("max by (type) (stoker_gateway_resources)", "{{type}}"),
        ),
        lines(
            "Seconds to build",
            "To compute and encode a configuration.",
            "s",
            *_percentiles("stoker_gateway_snapshot_build_seconds"),
        ),
        lines(
            "Errors",
            "Configurations that could not be made, per second.",
            "none",
            Query(_rate("stoker_gateway_snapshot_errors_total", "pod"), "{{pod}}"),
        ),
    ]


def _rate(counter: str, label: str) -> str:
    return f"sum by ({label}) (rate({counter}[$__rate_interval]))"


def _percentiles(histogram: str, window: str = "$__rate_interval") -> list[Query]:
    return [
        Query(
            f"histogram_quantile({share}, sum by (le) (rate({histogram}_bucket[{window}])))",
            f"p{round(share * 100)}",
        )
        for share in (0.5, 0.95, 0.99)
    ]
