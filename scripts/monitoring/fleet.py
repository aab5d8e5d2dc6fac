"""The dashboard of all InferenceServices."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from scripts.monitoring.panels import NAMESPACE, Panel, Query, lines, listing, number, page

_IN = 'namespace=~"$namespace"'
_EACH = "by (namespace, name)"
_NAME = "{{namespace}}/{{name}}"
_OWN = "stoker:inferenceservice"
_READY = f"stoker_inferenceservice_ready{{{_IN}}}"
_HTTP = f"stoker_runtime_http_requests_total{{{_IN}}}"
_CLIENTS = 'envoy_http_conn_manager_prefix="ingress"'
_RATE = "[$__rate_interval]"


def fleet() -> Dashboard:
    """Is each ready, used, fast and free of errors?"""
    rows = [("Now", _now()), ("Objectives", _objectives()), ("Over time", _over_time())]
    tells = "Every InferenceService: is it ready, used, fast and free of errors?"
    return page("stoker-fleet", "Stoker / Fleet", tells, [NAMESPACE], rows)


def _now() -> list[Panel]:
    ready = f"max {_EACH} ({_READY})"
    burning = f"max {_EACH} ({_OWN}_availability:burn1h{{{_IN}}} or {_OWN}_first_token:burn1h{{{_IN}}})"
    tokens = f"{_OWN}_generation_tokens:rate5m{{{_IN}}}"
    waiting = f"vllm:num_requests_waiting{{{_IN}}}"
    return [
        number("InferenceServices", "How many there are.", "short", Query(f"count({ready})", "all")),
        number(
            "Not ready",
            "Their status says why.",
            "short",
            Query(f"count({ready} == 0) or vector(0)", "not ready"),
        ),
        number(
            "Miss their objectives",
            "Over the last hour: they spend their budget faster than the month allows.",
            "short",
            Query(f"count({burning} > 1) or vector(0)", "burning"),
        ),
        number(
            "Requests",
            "Answered per second, all together.",
            "reqps",
            Query(f"sum(rate({_HTTP}[5m]))", "requests"),
        ),
        number(
            "Tokens",
            "Generated per second, all together.",
            "suffix: tok/s",
            Query(f"sum({tokens})", "tokens/s"),
        ),
        number(
            "Waiting",
            "Sequences that wait for a place in a batch.",
            "suffix: seq",
            Query(f"sum({waiting})", "waiting"),
        ),
        _table(tokens, waiting),
    ]


def _table(tokens: str, waiting: str) -> Panel:
    reason = f"0 * max by (namespace, name, reason) (stoker_inferenceservice_not_ready_reason{{{_IN}}})"
    up = f'up{{job="stoker-inferenceservices",{_IN}}}'
    columns = [
        (Query(f"{reason} or max {_EACH} ({_READY} == 1)", "Ready"), "bool_yes_no"),
        (
            Query(f"count {_EACH} (stoker_inferenceservice_traffic_percent{{{_IN}}} > 0)", "Revisions"),
            "short",
        ),
        (Query(f"sum {_EACH} ({up})", "Pods that answer"), "suffix: pods"),
        (Query(f"sum {_EACH} (rate({_HTTP}[5m]))", "Requests"), "reqps"),
        (Query(tokens, "Tokens/s"), "suffix: tok/s"),
        (Query(f"{_OWN}_time_to_first_token_seconds:p95_5m{{{_IN}}}", "TTFT p95"), "s"),
        (Query(f"{_OWN}_failed_requests:ratio_rate5m{{{_IN}}}", "Failed"), "percentunit"),
        (Query(_errors_left(), "Error budget left"), "percentunit"),
        (Query(_tokens_left(), "TTFT budget left"), "percentunit"),
        (Query(f"sum {_EACH} ({waiting})", "Waiting"), "suffix: seq"),
    ]
    tells = (
        "One row each; the reason is there where it is not ready. Failed: share of requests over 5 minutes. "
        "TTFT: time to first token. Budgets: the share of what may fail over the time shown that has not."
    )
    return listing("InferenceServices", tells, ["__name__"], columns)


def _errors_left() -> str:
    """Of what may fail, the share that has not over the time shown; under 0 where more has."""
    failed, asked = (
        f"sum_over_time({_OWN}_{each}:rate5m{{{_IN}}}[$__range])" for each in ("failed_requests", "requests")
    )
    allowed = f"1 - max {_EACH} (stoker_inferenceservice_availability_objective{{{_IN}}})"
    return f"1 - {failed} / {asked} / on (namespace, name) ({allowed})"


def _tokens_left() -> str:
    both = ("first_tokens_in_time", "first_tokens")
    in_time, asked = (f"sum_over_time({_OWN}_{each}:rate5m{{{_IN}}}[$__range])" for each in both)
    allowed = f"1 - max by (namespace, name, le) (stoker_inferenceservice_objective{{{_IN}}})"
    return f"max {_EACH} (1 - (1 - {in_time} / {asked}) / on (namespace, name, le) ({allowed}))"


def _objectives() -> list[Panel]:
    return [
        lines(
            "Speed of spending, failed requests",
            "1 spends a month's budget in a month. Over 14.4 for an hour, or 6 for six, somebody is called.",
            "suffix:x",
            Query(f"{_OWN}_availability:burn1h{{{_IN}}}", f"1 h, {_NAME}"),
            Query(f"{_OWN}_availability:burn6h{{{_IN}}}", f"6 h, {_NAME}"),
        ),
        lines(
            "Speed of spending, late first tokens",
            "1 spends a month's budget in a month. Over 14.4 for an hour, or 6 for six, somebody is called.",
            "suffix:x",
            Query(f"{_OWN}_first_token:burn1h{{{_IN}}}", f"1 h, {_NAME}"),
            Query(f"{_OWN}_first_token:burn6h{{{_IN}}}", f"6 h, {_NAME}"),
        ),
        lines(
            "Requests that are answered",
            "Share over an hour, and the objective: the line that it should not go under.",
            "percentunit",
            Query(
                f"1 - sum_over_time({_OWN}_failed_requests:rate5m{{{_IN}}}[1h])"
                f" / sum_over_time({_OWN}_requests:rate5m{{{_IN}}}[1h])",
                _NAME,
            ),
            Query(
                f"max {_EACH} (stoker_inferenceservice_availability_objective{{{_IN}}})",
                f"objective, {_NAME}",
            ),
        ),
        lines(
            "First tokens in time",
            "Share over an hour, and the objective: the line that it should not go under.",
            "percentunit",
            Query(
                f"sum_over_time({_OWN}_first_tokens_in_time:rate5m{{{_IN}}}[1h])"
                f" / sum_over_time({_OWN}_first_tokens:rate5m{{{_IN}}}[1h])",
                f"within {{{{le}}}} s, {_NAME}",
            ),
            Query(
                f"max by (namespace, name, le) (stoker_inferenceservice_objective{{{_IN}}})",
                f"objective, {_NAME}",
            ),
        ),
    ]


def _over_time() -> list[Panel]:
    tokens = f"rate(vllm:generation_tokens_total{{{_IN}}}{_RATE})"
    answers = f"envoy_http_downstream_rq_xx{{{_CLIENTS}}}"
    return [
        lines(
            "Requests",
            "Answered per second, by InferenceService.",
            "reqps",
            Query(f"sum {_EACH} (rate({_HTTP}{_RATE}))", _NAME),
        ),
        lines(
            "Tokens",
            "Generated per second, by InferenceService.",
            "suffix: tok/s",
            Query(f"sum {_EACH} ({tokens})", _NAME),
        ),
        lines(
            "Time to first token, p95",
            "What 95 of 100 clients waited at most, over 5 minutes.",
            "s",
            Query(f"{_OWN}_time_to_first_token_seconds:p95_5m{{{_IN}}}", _NAME),
        ),
        lines(
            "Failed requests",
            "Share of 5xx, of answers that broke off and of refusals for want of room, over 5 minutes.",
            "percentunit",
            Query(f"{_OWN}_failed_requests:ratio_rate5m{{{_IN}}}", _NAME),
        ),
        lines(
            "Traffic split",
            "Percent of the requests that each revision is to get: two lines are a canary.",
            "percent",
            Query(
                f"max by (namespace, name, revision) (stoker_inferenceservice_traffic_percent{{{_IN}}})",
                f"{_NAME}, {{{{revision}}}}",
            ),
        ),
        lines(
            "Ready",
            "1 where the condition Ready is True.",
            "short",
            Query(f"max {_EACH} ({_READY})", _NAME),
        ),
        lines(
            "Answers to clients",
            "By class of status, as the gateway gave them: also where no pod was ready.",
            "reqps",
            Query(
                f"sum by (envoy_response_code_class) (rate({answers}{_RATE}))",
                "{{envoy_response_code_class}}xx",
            ),
        ),
        lines(
            "Connections",
            "Open connections of clients at the gateway.",
            "suffix: conn",
            Query(f"sum by (pod) (envoy_http_downstream_cx_active{{{_CLIENTS}}})", "{{pod}}"),
        ),
    ]
