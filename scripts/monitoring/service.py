"""The dashboard of one InferenceService, by revision."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from scripts.monitoring.panels import NAMESPACE, Panel, Query, Variable, heat, lines, page

_IN = 'namespace=~"$namespace"'
_NAMED = f'{_IN},name=~"$service"'
_SERVICE = f'{_NAMED},revision=~"$revision"'
_HTTP = "stoker_runtime_http_requests_total"
_FIRST = "stoker_runtime_time_to_first_token_seconds"
_BETWEEN = "vllm:inter_token_latency_seconds"
_WHOLE = "vllm:e2e_request_latency_seconds"
_RATE = "[$__rate_interval]"
_START = 'phase!~"Ready|Draining|Failed"'


def service() -> Dashboard:
    """What do clients of one feel, and why?"""
    tells = "One InferenceService, by revision: what its clients feel, and why."
    info = "stoker_runtime_build_info"
    chosen = Variable(
        "service",
        "InferenceService",
        "One of them; several are added up.",
        f"{info}{{{_IN}}}",
        "name",
        several=False,
    )
    words = "One, to judge it alone; lines show each."
    revision = Variable("revision", "Revision", words, f"{info}{{{_NAMED}}}", "revision")
    rows = [
        ("What clients feel", _felt()),
        ("Spread", _spread()),
        ("Work", _work()),
        ("Revisions", _revisions()),
        ("Cold start", _cold_start()),
        ("Pods", _pods()),
    ]
    return page("stoker-service", "Stoker / Service", tells, [NAMESPACE, chosen, revision], rows)


def _felt() -> list[Panel]:
    in_time, asked = (
        f"sum_over_time(stoker:inferenceservice_{each}:rate5m{{{_NAMED}}}[1h])"
        for each in ("first_tokens_in_time", "first_tokens")
    )
    objective = f"max by (namespace, name, le) (stoker_inferenceservice_objective{{{_NAMED}}})"
    return [
        _percentiles("Time to first token", "From a request's head to the first written token.", _FIRST),
        _percentiles("Between tokens", "Time from one token of a sequence to its next.", _BETWEEN),
        _percentiles("Whole sequences", "In the engine, from first to last.", _WHOLE),
        lines(
            "Answers by status",
            "Per second. 499: the client left before the end. 503: refused, see below.",
            "reqps",
            Query(f"sum by (status) (rate({_HTTP}{{{_SERVICE}}}{_RATE}))", "{{status}}"),
            width=8,
        ),
        lines(
            "Errors",
            "Share of 5xx by revision: a new one must not be worse than the old.",
            "percentunit",
            Query(_share_of_errors(), "{{revision}}"),
            width=8,
        ),
        lines(
            "First tokens in time",
            "Share over an hour, and the objective that the annotations name.",
            "percentunit",
            Query(f"{in_time} / {asked}", "within {{le}} s"),
            Query(objective, "objective, {{le}} s"),
            width=8,
        ),
    ]


def _spread() -> list[Panel]:
    first = "From a request's head to the first written token."
    return [
        heat("Time to first token", first, "s", _FIRST, _SERVICE),
        heat("Between tokens", "The pace at which text appears.", "s", _BETWEEN, _SERVICE),
        heat("Whole sequences", "In the engine, from first to last.", "s", _WHOLE, _SERVICE),
    ]


def _work() -> list[Panel]:
    read, made = (_rate(f"vllm:{each}_tokens_total", "revision") for each in ("prompt", "generation"))
    running, waiting = (f"vllm:num_requests_{each}{{{_SERVICE}}}" for each in ("running", "waiting"))
    return [
        lines(
            "Tokens",
            "Per second and revision: read (prompts) and generated.",
            "none",
            Query(read, "read, {{revision}}"),
            Query(made, "generated, {{revision}}"),
        ),
        lines(
            "Batch size",
            "Sequences that a pod works on at once, on average over the pods of a revision.",
            "none",
            Query(f"avg by (revision) ({running})", "{{revision}}"),
        ),
        lines(
            "Queue",
            "Sequences that wait for a place in the batch, all pods of a revision.",
            "none",
            Query(f"sum by (revision) ({waiting})", "{{revision}}"),
        ),
        lines(
            "Refused",
            "Requests per second that were refused before the engine, by reason.",
            "reqps",
            Query(_rate("stoker_runtime_refused_requests_total", "reason"), "{{reason}}"),
        ),
        lines(
            "KV cache",
            "Share in use, by pod; full means preemptions. vLLM only.",
            "percentunit",
            Query(f"max by (pod) (vllm:kv_cache_usage_perc{{{_SERVICE}}})", "{{pod}}"),
        ),
        lines(
            "Preemptions",
            "Sequences per second that are computed again. vLLM only.",
            "none",
            Query(_rate("vllm:num_preemptions_total", "pod"), "{{pod}}"),
        ),
        lines(
            "Prefix cache",
            "Share of prompt tokens that were found in it. vLLM only.",
            "percentunit",
            Query(_prefix_hits(), "{{revision}}"),
        ),
        lines(
            "Ends of sequences",
            "Per second: the model's end, the length asked for, or the client left.",
            "none",
            Query(_rate("vllm:request_success_total", "finished_reason"), "{{finished_reason}}"),
        ),
        lines(
            "Clients that left",
            "Per second, before the end of their answer.",
            "reqps",
            Query(_rate("stoker_runtime_client_disconnects_total", "route"), "{{route}}"),
        ),
    ]


def _revisions() -> list[Panel]:
    traffic = f"stoker_inferenceservice_traffic_percent{{{_NAMED}}}"
    began = f"stoker_inferenceservice_rollout_began_timestamp_seconds{{{_NAMED}}}"
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
            Query(_rate(_HTTP, "revision"), "{{revision}}"),
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


def _cold_start() -> list[Panel]:
    measured = f"stoker_inferenceservice_cold_start_seconds{{{_NAMED}}}"
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
                f"max by (pod, phase) (stoker_runtime_phase_seconds{{{_SERVICE},{_START}}})",
                "{{phase}}, {{pod}}",
            ),
        ),
        lines(
            "Pods by phase",
            "How many are in which phase.",
            "none",
            Query(
                f"sum by (revision, phase) (stoker_runtime_phase{{{_SERVICE}}}) > 0",
                "{{phase}}, {{revision}}",
            ),
        ),
        lines(
            "Ends of pods",
            "How many serve, still serve before their end, or only finish what they began.",
            "none",
            Query(f"sum by (state) (stoker_runtime_drain_state{{{_SERVICE}}})", "{{state}}"),
        ),
    ]


def _pods() -> list[Panel]:
    lag = f"rate(stoker_runtime_event_loop_lag_seconds_bucket{{{_SERVICE}}}{_RATE})"
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
            Query(f"max by (pod) (process_resident_memory_bytes{{{_SERVICE}}})", "{{pod}}"),
            width=8,
        ),
        lines(
            "CPU",
            "Cores, of the server's process.",
            "none",
            Query(_rate("process_cpu_seconds_total", "pod"), "{{pod}}"),
            width=8,
        ),
    ]


def _percentiles(title: str, tells: str, histogram: str) -> Panel:
    queries = [
        Query(_quantile(share, histogram), f"p{round(share * 100)}, {{{{revision}}}}")
        for share in (0.5, 0.95, 0.99)
    ]
    return lines(title, f"{tells} By revision.", "s", *queries, width=8)


def _quantile(share: float, histogram: str) -> str:
    rate = f"rate({histogram}_bucket{{{_SERVICE}}}{_RATE})"
    return f"histogram_quantile({share}, sum by (revision, le) ({rate}))"


def _rate(counter: str, label: str) -> str:
    return f"sum by ({label}) (rate({counter}{{{_SERVICE}}}{_RATE}))"


def _share_of_errors() -> str:
    def rate(more: str) -> str:
        return f'sum by (revision) (rate({_HTTP}{{{_SERVICE},route!="unknown"{more}}}{_RATE}))'

    failed = ',status=~"5.."'
    return f"({rate(failed)} or 0 * {rate('')}) / {rate('')}"


def _prefix_hits() -> str:
    hits, queries = (f"vllm:prefix_cache_{each}_total" for each in ("hits", "queries"))
    return f"{_rate(hits, 'revision')} / {_rate(queries, 'revision')}"
