"""The dashboard of all InferenceServices."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from scripts.monitoring.panels import NAMESPACE, Query, lines, listing, number, page

_IN = 'namespace=~"$namespace"'
_HTTP = "stoker_runtime_http_requests_total"
_CLIENTS = 'envoy_http_conn_manager_prefix="ingress"'
_ANSWERS = f"envoy_http_downstream_rq_xx{{{_CLIENTS}}}"


def fleet() -> Dashboard:
    """Is each ready, used, fast and free of errors?"""
    each = "by (namespace, name)"
    ready = f"stoker_inferenceservice_ready{{{_IN}}}"
    columns = [
        (Query(f"max {each} ({ready})", "Ready"), "bool_yes_no"),
        (
            Query(
                f'count {each} (count {each[:-1]}, revision) (up{{job="stoker-inferenceservices",{_IN}}}))',
                "Revisions",
            ),
            "none",
        ),
        (Query(f'sum {each} (up{{job="stoker-inferenceservices",{_IN}}})', "Pods that answer"), "none"),
        (Query(f"sum {each} (rate({_HTTP}{{{_IN}}}[5m]))", "Requests"), "reqps"),
        (Query(f"stoker:inferenceservice_generation_tokens:rate5m{{{_IN}}}", "Tokens/s"), "none"),
        (Query(f"{_p95()}{{{_IN}}}", "TTFT p95"), "s"),
        (Query(f"stoker:inferenceservice_errors:ratio_rate5m{{{_IN}}}", "Errors"), "percentunit"),
        (Query(f"sum {each} (vllm:num_requests_waiting{{{_IN}}})", "Waiting"), "none"),
    ]
    return page(
        "stoker-fleet",
        "Stoker / Fleet",
        "Every InferenceService: is it ready, used, fast and free of errors?",
        [NAMESPACE],
        [
            (
                "Now",
                [
                    number(
                        "InferenceServices",
                        "How many there are.",
                        "none",
                        Query(f"count(max {each} ({ready}))", "all"),
                    ),
                    number(
                        "Not ready",
                        "Their status says why.",
                        "none",
                        Query(f"count(max {each} ({ready}) == 0)", "not ready"),
                    ),
                    number(
                        "Requests",
                        "Answered per second, all together.",
                        "reqps",
                        Query(f"sum(rate({_HTTP}{{{_IN}}}[5m]))", "requests"),
                    ),
                    number(
                        "Tokens",
                        "Generated per second, all together.",
                        "none",
                        Query(f"sum(stoker:inferenceservice_generation_tokens:rate5m{{{_IN}}})", "tokens/s"),
                    ),
                    number(
                        "Waiting",
                        "Sequences that wait for a place in a batch.",
                        "none",
                        Query(f"sum(vllm:num_requests_waiting{{{_IN}}})", "waiting"),
                    ),
                    listing(
                        "InferenceServices",
                        "One row each. Errors: share of 5xx over 5 minutes. TTFT: time to first token.",
                        ["__name__"],
                        columns,
                    ),
                ],
            ),
            (
                "Over time",
                [
                    lines(
                        "Requests",
                        "Answered per second, by InferenceService.",
                        "reqps",
                        Query(
                            f"sum {each} (rate({_HTTP}{{{_IN}}}[$__rate_interval]))", "{{namespace}}/{{name}}"
                        ),
                    ),
                    lines(
                        "Tokens",
                        "Generated per second, by InferenceService.",
                        "none",
                        Query(
                            f"sum {each} (rate(vllm:generation_tokens_total{{{_IN}}}[$__rate_interval]))",
                            "{{namespace}}/{{name}}",
                        ),
                    ),
                    lines(
                        "Time to first token, p95",
                        "What 95 of 100 clients waited at most, over 5 minutes.",
                        "s",
                        Query(f"{_p95()}{{{_IN}}}", "{{namespace}}/{{name}}"),
                    ),
                    lines(
                        "Errors",
                        "Share of requests answered with 5xx; the objective is under 0.5 %.",
                        "percentunit",
                        Query(
                            f"stoker:inferenceservice_errors:ratio_rate5m{{{_IN}}}", "{{namespace}}/{{name}}"
                        ),
                    ),
                    lines(
                        "Answers to clients",
                        "By class of status, as the gateway gave them: also where no pod was ready.",
                        "reqps",
                        Query(
                            f"sum by (envoy_response_code_class) (rate({_ANSWERS}[$__rate_interval]))",
                            "{{envoy_response_code_class}}xx",
                        ),
                    ),
                    lines(
                        "Connections",
                        "Open connections of clients at the gateway.",
                        "none",
                        Query(
                            f"sum by (pod) (envoy_http_downstream_cx_active{{{_CLIENTS}}})",
                            "{{pod}}",
                        ),
                    ),
                ],
            ),
        ],
    )


def _p95() -> str:
    return "stoker:inferenceservice_time_to_first_token_seconds:p95_5m"
