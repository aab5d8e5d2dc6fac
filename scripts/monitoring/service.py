"""The dashboard of one InferenceService, by revision."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from scripts.monitoring.panels import NAMESPACE, Panel, Query, Variable, heat, lines, page
from scripts.monitoring.promql import RATE, percentiles, rate
from scripts.monitoring.service_pods import HTTP, IN, NAMED, SERVICE, cold_start, pods, revisions

_FIRST = "stoker_runtime_time_to_first_token_seconds"
_BETWEEN = "vllm:inter_token_latency_seconds"
_WHOLE = "vllm:e2e_request_latency_seconds"


def service() -> Dashboard:
    """What do clients of one feel, and why?"""
    tells = "One InferenceService, by revision: what its clients feel, and why."
    pods_of = 'up{job="stoker-inferenceservices",'  # of any server, Stoker's or not
    chosen = Variable(
        "service",
        "InferenceService",
        "One of them; several are added up.",
        f"{pods_of}{IN}}}",
        "name",
        several=False,
    )
    words = "One, to judge it alone; lines show each."
    revision = Variable("revision", "Revision", words, f"{pods_of}{NAMED}}}", "revision")
    rows = [
        ("What clients feel", _felt()),
        ("Spread", _spread()),
        ("Work", _work()),
        ("Revisions", revisions()),
        ("Cold start", cold_start()),
        ("Pods", pods()),
    ]
    return page("stoker-service", "Stoker / Service", tells, [NAMESPACE, chosen, revision], rows)


def _felt() -> list[Panel]:
    in_time, asked = (
        f"sum_over_time(stoker:inferenceservice_{each}:rate5m{{{NAMED}}}[1h])"
        for each in ("first_tokens_in_time", "first_tokens")
    )
    objective = f"max by (namespace, name, le) (stoker_inferenceservice_objective{{{NAMED}}})"
    return [
        _percentiles("Time to first token", "From a request's head to the first written token.", _FIRST),
        _percentiles("Between tokens", "Time from one token of a sequence to its next.", _BETWEEN),
        _percentiles("Whole sequences", "In the engine, from first to last.", _WHOLE),
        lines(
            "Answers by status",
            "Per second. 499: the client left before the end. 503: refused, see below.",
            "reqps",
            Query(f"sum by (status) (rate({HTTP}{{{SERVICE}}}{RATE}))", "{{status}}"),
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
        heat("Time to first token", first, "s", _FIRST, SERVICE),
        heat("Between tokens", "The pace at which text appears.", "s", _BETWEEN, SERVICE),
        heat("Whole sequences", "In the engine, from first to last.", "s", _WHOLE, SERVICE),
    ]


def _work() -> list[Panel]:
    read, made = (rate(f"vllm:{each}_tokens_total", "revision", SERVICE) for each in ("prompt", "generation"))
    running, waiting = (f"vllm:num_requests_{each}{{{SERVICE}}}" for each in ("running", "waiting"))
    return [
        lines(
            "Tokens",
            "Per second and revision: read (prompts) and generated.",
            "suffix: tok/s",
            Query(read, "read, {{revision}}"),
            Query(made, "generated, {{revision}}"),
        ),
        lines(
            "Batch size",
            "Sequences that a pod works on at once, on average over the pods of a revision.",
            "suffix: seq",
            Query(f"avg by (revision) ({running})", "{{revision}}"),
        ),
        lines(
            "Queue",
            "Sequences that wait for a place in the batch, all pods of a revision.",
            "suffix: seq",
            Query(f"sum by (revision) ({waiting})", "{{revision}}"),
        ),
        lines(
            "Refused",
            "Requests per second that were refused before the engine, by reason.",
            "reqps",
            Query(rate("stoker_runtime_refused_requests_total", "reason", SERVICE), "{{reason}}"),
        ),
        lines(
            "KV cache",
            "Share in use, by pod; full means preemptions. Not of echo.",
            "percentunit",
            Query(f"max by (pod) (vllm:kv_cache_usage_perc{{{SERVICE}}})", "{{pod}}"),
        ),
        lines(
            "Preemptions",
            "Sequences per second that are computed again. Not of echo.",
            "suffix: seq/s",
            Query(rate("vllm:num_preemptions_total", "pod", SERVICE), "{{pod}}"),
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
            "suffix: seq/s",
            Query(rate("vllm:request_success_total", "finished_reason", SERVICE), "{{finished_reason}}"),
        ),
        lines(
            "Clients that left",
            "Per second, before the end of their answer.",
            "reqps",
            Query(rate("stoker_runtime_client_disconnects_total", "route", SERVICE), "{{route}}"),
        ),
    ]


def _percentiles(title: str, tells: str, histogram: str) -> Panel:
    queries = percentiles(histogram, SERVICE, by="revision")
    return lines(title, f"{tells} By revision.", "s", *queries, width=8)


def _share_of_errors() -> str:
    def rate(more: str) -> str:
        return f'sum by (revision) (rate({HTTP}{{{SERVICE},route!="unknown"{more}}}{RATE}))'

    failed = ',status=~"5.."'
    return f"({rate(failed)} or 0 * {rate('')}) / {rate('')}"


def _prefix_hits() -> str:
    hits, queries = (f"vllm:prefix_cache_{each}_total" for each in ("hits", "queries"))
    return f"{rate(hits, 'revision', SERVICE)} / {rate(queries, 'revision', SERVICE)}"
