"""The dashboard of the control plane: controller, webhook, gateway."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from scripts.monitoring.panels import Panel, Query, lines, number, page
from scripts.monitoring.promql import RATE, percentiles, rate

_OURS = 'job=~"stoker-(controller|webhook|gateway)"'
# Other operators in the cluster export the same names.
_LOOP = 'job="stoker-controller"'


def control_plane() -> Dashboard:
    """Is Stoker itself well?"""
    rows = [
        ("Now", _now()),
        ("Controller", _controller()),
        ("InferenceServices", _services()),
        ("Webhook", _webhook()),
        ("Gateway", _gateway()),
        ("Processes", _processes()),
    ]
    tells = "Stoker itself: does it reconcile, judge and push, and how fast?"
    return page("stoker-control-plane", "Stoker / Control plane", tells, [], rows)


def _now() -> list[Panel]:
    leads = 'leader_election_master_status{name="stoker-controller"}'
    ends = "min(stoker_webhook_certificate_expiry_timestamp_seconds) - time()"
    behind, wrong = (
        "max(stoker_gateway_snapshot_age_seconds)",
        "sum(stoker_controller_spec_problems) or vector(0)",
    )
    taken = "max(stoker_gateway_inferenceservices_without_host)"
    return [
        number(
            "Leaders", "Controllers that lead: one.", "suffix: replicas", Query(f"sum({leads})", "leaders")
        ),
        number(
            "Certificate ends in",
            "The webhook's first to end; renewed days before.",
            "s",
            Query(ends, "left"),
        ),
        number(
            "Slowest Envoy", "How long it has lacked the latest configuration.", "s", Query(behind, "behind")
        ),
        number(
            "Envoys",
            "Connected to a gateway.",
            "suffix: Envoys",
            Query("sum(stoker_gateway_connected_envoys)", "Envoys"),
        ),
        number(
            "Cannot be rendered",
            "InferenceServices with a wrong spec.",
            "suffix: objects",
            Query(wrong, "objects"),
        ),
        number(
            "Hosts taken",
            "InferenceServices whose host is another's.",
            "suffix: objects",
            Query(taken, "objects"),
        ),
    ]


def _controller() -> list[Panel]:
    return [
        lines(
            "Reconciles",
            "Per second, by how they ended.",
            "suffix:/s",
            Query(rate("controller_runtime_reconcile_total", "result", _LOOP), "{{result}}"),
        ),
        lines(
            "Seconds per reconcile",
            "A reconcile reads from memory and writes what differs.",
            "s",
            *percentiles("controller_runtime_reconcile_time_seconds", _LOOP),
        ),
        lines(
            "Queue",
            "Keys that wait for a worker, and workers at work.",
            "suffix: keys",
            Query(f"sum by (controller) (workqueue_depth{{{_LOOP}}})", "waiting, {{controller}}"),
            Query(
                f"sum by (controller) (controller_runtime_active_workers{{{_LOOP}}})",
                "in work, {{controller}}",
            ),
        ),
        lines(
            "Keys",
            "Per second: added to the queue, and of these added again after a failure.",
            "suffix:/s",
            Query(rate("workqueue_adds_total", "controller", _LOOP), "added, {{controller}}"),
            Query(rate("workqueue_retries_total", "controller", _LOOP), "again, {{controller}}"),
        ),
        lines(
            "Wait in the queue",
            "Of a key, until a worker takes it.",
            "s",
            *percentiles("workqueue_queue_duration_seconds", _LOOP),
        ),
        lines(
            "Work on a key",
            "From a worker's taking it until it is done.",
            "s",
            *percentiles("workqueue_work_duration_seconds", _LOOP),
        ),
        lines(
            "Work under way",
            "Spent so far on keys in work: a line that rises is a worker that is stuck.",
            "s",
            Query(f"max(workqueue_longest_running_processor_seconds{{{_LOOP}}})", "longest"),
            Query(f"sum(workqueue_unfinished_work_seconds{{{_LOOP}}})", "all"),
        ),
        lines(
            "Leader",
            "Which replica leads.",
            "short",
            Query('max by (pod) (leader_election_master_status{name="stoker-controller"})', "{{pod}}"),
        ),
    ]


def _services() -> list[Panel]:
    phase = "max by (namespace, name, phase) (stoker_inferenceservice_rollout_phase)"
    return [
        lines(
            "Time to ready",
            "From an InferenceService's creation until it was first ready.",
            "s",
            *percentiles("stoker_inferenceservice_time_to_ready_seconds", window="[1h]"),
        ),
        lines(
            "Seconds per rollout",
            "From a change of a spec until its revision was rolled out, or held as a canary.",
            "s",
            *percentiles("stoker_inferenceservice_rollout_seconds", window="[1h]"),
        ),
        lines(
            "Rollouts",
            "InferenceServices by where their rollout is.",
            "suffix: objects",
            Query(f"sum by (phase) ({phase})", "{{phase}}"),
        ),
        lines(
            "Wrong specs",
            "InferenceServices that cannot be rendered, by reason.",
            "suffix: objects",
            Query("sum by (reason) (stoker_controller_spec_problems)", "{{reason}}"),
        ),
        lines(
            "State documents",
            "Asked of pods, per second, by what came of it.",
            "suffix:/s",
            Query(rate("stoker_controller_state_polls_total", "result"), "{{result}}"),
            width=24,
        ),
    ]


def _webhook() -> list[Panel]:
    return [
        lines(
            "Reviews",
            "Per second, by verdict. Unjudged: a rule of ours failed.",
            "suffix:/s",
            Query(rate("stoker_webhook_reviews_total", "verdict"), "{{verdict}}"),
        ),
        lines(
            "Seconds per review",
            "The API server waits for it with every change of an object.",
            "s",
            *percentiles("stoker_webhook_review_duration_seconds"),
        ),
        lines(
            "Problems",
            "In refusals, per second, by the field at fault and why: which rules refuse.",
            "suffix:/s",
            Query(rate("stoker_webhook_problems_total", "field, reason"), "{{field}}: {{reason}}"),
        ),
        lines(
            "Runtimes",
            "That reviews are judged with; unreadable ones are left out.",
            "suffix: runtimes",
            Query("max by (state) (stoker_webhook_runtimes)", "{{state}}"),
        ),
    ]


def _gateway() -> list[Panel]:
    answers = rate("envoy_stoker_requests", "status, flags")
    return [
        lines(
            "Answers",
            "To clients, per second, by status and Envoy's flags: `-` is well, `DC` the client left.",
            "reqps",
            Query(answers, "{{status}} {{flags}}"),
        ),
        lines(
            "Behind",
            "How long the slowest Envoy has lacked the latest configuration.",
            "s",
            Query("max by (pod) (stoker_gateway_snapshot_age_seconds)", "{{pod}}"),
        ),
        lines(
            "Pushes",
            "Sent per second, by type of resource, and those refused.",
            "suffix:/s",
            Query(rate("stoker_gateway_pushes_total", "type"), "{{type}}"),
            Query(rate("stoker_gateway_refused_pushes_total", "type"), "refused, {{type}}"),
        ),
        lines(
            "Seconds per push",
            "From a new configuration until an Envoy had accepted all of it.",
            "s",
            *percentiles("stoker_gateway_push_seconds"),
        ),
        lines(
            "Seconds to build",
            "To compute and encode a configuration.",
            "s",
            *percentiles("stoker_gateway_snapshot_build_seconds"),
        ),
        lines(
            "Errors",
            "Configurations that could not be made, per second.",
            "suffix:/s",
            Query(rate("stoker_gateway_snapshot_errors_total", "pod"), "{{pod}}"),
        ),
        lines(
            "Resources",
            "In the latest configuration.",
            "suffix: resources",
            Query("max by (type) (stoker_gateway_resources)", "{{type}}"),
            width=24,
        ),
    ]


def _processes() -> list[Panel]:
    lag = f"rate(stoker_event_loop_lag_seconds_bucket{{{_OURS}}}{RATE})"
    memory = f"process_resident_memory_bytes{{{_OURS}}}"
    cpu = f"rate(process_cpu_seconds_total{{{_OURS}}}{RATE})"
    each = "{{job}}, {{pod}}"
    return [
        lines(
            "Event loop lag, p99",
            "How late a program is with everything it does.",
            "s",
            Query(f"histogram_quantile(0.99, sum by (job, pod, le) ({lag}))", each),
            width=8,
        ),
        lines("Memory", "Resident, by pod.", "bytes", Query(f"max by (job, pod) ({memory})", each), width=8),
        lines("CPU", "Cores, by pod.", "suffix: cores", Query(f"max by (job, pod) ({cpu})", each), width=8),
    ]
