"""What an InferenceService promises its users: objectives, written as annotations.

    stoker.dev/objective-availability: "99.5"      percent of requests that are answered
    stoker.dev/objective-ttft-seconds: "0.5"       the first token comes within this time ...
    stoker.dev/objective-ttft-percent: "95"        ... for this percentage of answers; 95 where it is not said

A time must be a border of the histogram in which runtimes count: what lies between two borders cannot be read
from it. docs/api.md lists them, docs/metrics.md says what is recorded for them.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from stoker.serving.names import DOMAIN
from stoker.serving.problems import FieldProblem, Invalid, child, forbidden, invalid

AVAILABILITY_ANNOTATION = f"{DOMAIN}/objective-availability"
TTFT_SECONDS_ANNOTATION = f"{DOMAIN}/objective-ttft-seconds"
TTFT_PERCENT_ANNOTATION = f"{DOMAIN}/objective-ttft-percent"
ANNOTATIONS = (AVAILABILITY_ANNOTATION, TTFT_PERCENT_ANNOTATION, TTFT_SECONDS_ANNOTATION)

TTFT_METRIC = "vllm:time_to_first_token_seconds"
# The upper borders of its buckets in seconds, +Inf aside: vllm/v1/metrics/buckets.py.
# fmt: off
TTFT_BORDERS: tuple[float, ...] = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
)
# fmt: on
DEFAULT_TTFT_PERCENT = "95"
# Above it, one wrong answer in 100,000 breaks the promise: nobody's traffic can tell.
_MOST = Decimal("99.999")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


@dataclass(frozen=True)
class TtftObjective:
    """`le`: the border as Prometheus' label has it ("0.5", "20.0"); `share`: of answers, 0 to 1."""

    le: str
    share: float


@dataclass(frozen=True)
class Objectives:
    """What is promised; None where nothing is. `availability`: the share of requests, 0 to 1."""

    availability: float | None = None
    ttft: TtftObjective | None = None


def parse_objectives(annotations: Mapping[str, str]) -> Objectives:
    """The objectives in an InferenceService's annotations. Raises Invalid with every problem."""
    objectives, problems = _read(annotations)
    if problems:
        raise Invalid(*problems)
    return objectives


def usable_objectives(annotations: Mapping[str, str]) -> Objectives:
    """The same without those that are wrong: they were stored before anybody checked them."""
    return _read(annotations)[0]


def _read(annotations: Mapping[str, str]) -> tuple[Objectives, list[FieldProblem]]:
    problems: list[FieldProblem] = []
    availability = _share(AVAILABILITY_ANNOTATION, annotations.get(AVAILABILITY_ANNOTATION), problems)
    border = _border(annotations.get(TTFT_SECONDS_ANNOTATION), problems)
    percent = annotations.get(TTFT_PERCENT_ANNOTATION)
    share = _share(TTFT_PERCENT_ANNOTATION, DEFAULT_TTFT_PERCENT if percent is None else percent, problems)
    if percent is not None and TTFT_SECONDS_ANNOTATION not in annotations:
        detail = f"it is the share of answers that come within {TTFT_SECONDS_ANNOTATION}, which is not set"
        problems.append(forbidden(_path(TTFT_PERCENT_ANNOTATION), detail))
    ttft = TtftObjective(repr(border), share) if border is not None and share is not None else None
    return Objectives(availability, ttft), problems


def _share(annotation: str, text: str | None, problems: list[FieldProblem]) -> float | None:
    """The percentage as a share."""
    if text is None:
        return None
    percent = Decimal(text) if _NUMBER.fullmatch(text) else Decimal(-1)
    if 0 < percent <= _MOST:
        return float(percent / 100)
    detail = f'must be a percentage without a sign, above 0 and at most {_MOST}: "99.5"'
    problems.append(invalid(_path(annotation), text, detail))
    return None


def _border(text: str | None, problems: list[FieldProblem]) -> float | None:
    """The border that is meant."""
    if text is None:
        return None
    if _NUMBER.fullmatch(text) and float(text) in TTFT_BORDERS:
        return float(text)
    borders = ", ".join(f"{border:g}" for border in TTFT_BORDERS)
    detail = f"must be a border of the histogram {TTFT_METRIC}, in seconds: {borders}"
    if _NUMBER.fullmatch(text):
        place = bisect.bisect(TTFT_BORDERS, float(text))
        near = " and ".join(f'"{border:g}"' for border in TTFT_BORDERS[max(0, place - 1) : place + 1])
        detail += f"; nearest: {near}"
    problems.append(invalid(_path(TTFT_SECONDS_ANNOTATION), text, detail))
    return None


def _path(annotation: str) -> str:
    return child("metadata.annotations", annotation)
