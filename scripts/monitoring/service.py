"""The dashboard of one InferenceService, by revision."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from scripts.monitoring.panels import NAMESPACE, Panel, Query, Variable, heat, lines, page

_IN = 'namespace=~"$namespace"'
_SERVICE = 'namespace=~"$namespace",name=~"$service",revision=~"$revision"'
_HTTP = "stoker_runtime_http_requests_total"
_FIRST = "stoker_runtime_time_to_first_token_seconds"
_START = 'phase!~"Ready|Draining|Failed"'
_FAILED = ',status=~"5.."'


def service() -> Dashboard:
    """What do clients of one feel, and why?"""
    chosen = Variable(
        "service",
        "InferenceService",
        "One of them; several are added up.",
        f"stoker_runtime_build_info{{{_IN}}}",
        "name",
        several=False,
    )
    revision = Variable(
        "revision",
        "Revision",
        "One, to judge it alone; lines show each.",
        'stoker_runtime_build_info{namespace=~"$namespace",name=~"$service"}',
        "revision",
    )
    return page(
        "stoker-service",
        "Stoker / Service",
        "One InferenceService, by revision: what its clients feel, and why.",
        [NAMESPACE, chosen, revision],
        [
            (
                "What clients feel",
                [
                    *_percentiles(),
                    lines(
                        "Answers by status",
                        "Per second. 499: the client left before the end. 503: refused, see below.",
                        "reqps",
                        Query(
                            f"sum by (status) (rate({_HTTP}{{{_SERVICE}}}[$__rate_interval]))", "{{status}}"
                        ),
                    ),
                    lines(
                        "Errors",
                        "Share of 5xx by revision: a new one must not be worse than the old.",
                        "percentunit",
                        Query(_share(), "{{revision}}"),
                    ),
                ],
            ),
            (
                "Spread",
                [
                    heat(
                        "Time to first token",
                        "From a request's head to the first written token.",
                        "s",
                        _FIRST,
                        _SERVICE,
                    ),
                    heat(
                        "Between tokens",
                        "The pace at which text appears.",
                        "s",
                        "vllm:inter_token_latency_seconds",
                        _SERVICE,
                    ),
                    heat(
                        "Whole sequences",
                        "In the engine, from first to last.",
                        "s",
                        "vllm:e2e_request_latency_seconds",
                        _SERVICE,
                    ),
                ],
            ),
            (
                "Work",
                [
                    lines(
                        "Tokens",
                        "Per second and revision: read (prompts) and generated.",
                        "none",
                        Query(_rate("vllm:prompt_tokens_total", "revision"), "read, {{revision}}"),
                        Query(_rate("vllm:generation_tokens_total", "revision"), "generated, {{revision}}"),
                    ),
                    lines(
                        "Sequences",
                        "In the batch and waiting for it, all pods.",
                        "none",
                        Query(
                            f"sum by (revision) (vllm:num_requests_running{{{_SERVICE}}})",
                            "in the batch, {{revision}}",
                        ),
                        Query(
                            f"sum by (revision) (vllm:num_requests_waiting{{{_SERVICE}}})",
                            "waiting, {{revision}}",
                        ),
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
                        Query(
                            _prefix_hits(),
                            "{{revision}}",
                        ),
                    ),
                    lines(
                        "Ends of sequences",
                        "Per second: the model's end, the length asked for, or the client left.",
                        "none",
                        Query(_rate("vllm:request_success_total", "finished_reason"), "{{finished_reason}}"),
                    ),
                    lines(
                        "Refused",
                        "Requests per second that were refused before the engine, by reason.",
                        "reqps",
                        Query(_rate("stoker_runtime_refused_requests_total", "reason"), "{{reason}}"),
                    ),
                    lines(
                        "Clients that left",
                        "Per second, before the end of their answer.",
                        "reqps",
                        Query(_rate("stoker_runtime_client_disconnects_total", "route"), "{{route}}"),
                    ),
                ],
            ),
            (
                "Pods",
                [
                    lines(
                        "Seconds per phase of the start",
                        "Where a cold start spends its time, by pod.",
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
                        "Memory",
                        "Resident, of the server's process.",
                        "bytes",
                        Query(f"max by (pod) (process_resident_memory_bytes{{{_SERVICE}}})", "{{pod}}"),
                    ),
                    lines(
                        "CPU",
                        "Cores, of the server's process.",
                        "none",
                        Query(_rate("process_cpu_seconds_total", "pod"), "{{pod}}"),
                    ),
                ],
            ),
        ],
    )


def _percentiles() -> list[Panel]:
    names = [
        ("Time to first token", "From a request's head to the first written token.", _FIRST),
        (
            "Between tokens",
            "Time from one token of a sequence to its next.",
            "vllm:inter_token_latency_seconds",
        ),
        ("Whole sequences", "In the engine, from first to last.", "vllm:e2e_request_latency_seconds"),
    ]
    return [
        lines(
            title,
            f"{tells} By revision.",
            "s",
            *(
                Query(_quantile(share, histogram), f"p{round(share * 100)}, {{{{revision}}}}")
                for share in (0.5, 0.95, 0.99)
            ),
            width=8,
        )
        for title, tells, histogram in names
    ]


def _quantile(share: float, histogram: str) -> str:
    rate = f"rate({histogram}_bucket{{{_SERVICE}}}[$__rate_interval])"
    return f"histogram_quantile({share}, sum by (revision, le) ({rate}))"


def _rate(counter: str, label: str) -> str:
    return f"sum by ({label}) (rate({counter}{{{_SERVICE}}}[$__rate_interval]))"


def _share() -> str:
    def rate(more: str) -> str:
        return f'sum by (revision) (rate({_HTTP}{{{_SERVICE},route!="unknown"{more}}}[$__rate_interval]))'

    return f"({rate(_FAILED)} or 0 * {rate('')}) / {rate('')}"


def _prefix_hits() -> str:
    hits, queries = (f"vllm:prefix_cache_{each}_total" for each in ("hits", "queries"))
    return f"{_rate(hits, 'revision')} / {_rate(queries, 'revision')}"
