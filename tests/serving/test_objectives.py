"""Objectives: what annotations promise, and what of them stays usable where some are wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.serving.api.objectives import (
    ANNOTATIONS,
    AVAILABILITY_ANNOTATION,
    TTFT_BORDERS,
    TTFT_PERCENT_ANNOTATION,
    TTFT_SECONDS_ANNOTATION,
    Objectives,
    TtftObjective,
    parse_objectives,
    usable_objectives,
)
from stoker.serving.problems import Invalid


def test_nothing_is_promised_without_annotations() -> None:
    assert parse_objectives({"example.com/a": "b"}) == Objectives()


@pytest.mark.parametrize(
    ("percent", "share"), [("99.5", 0.995), ("99.999", 0.99999), ("0.1", 0.001), ("33.3", 0.333), ("90", 0.9)]
)
def test_a_percentage_becomes_the_share_that_people_would_write(percent: str, share: float) -> None:
    assert parse_objectives({AVAILABILITY_ANNOTATION: percent}) == Objectives(availability=share)


@pytest.mark.parametrize("text", ["1", "1.0", "1.000", "01"])
def test_a_border_is_spelled_as_prometheus_does(text: str) -> None:
    assert parse_objectives({TTFT_SECONDS_ANNOTATION: text}).ttft == TtftObjective("1.0", 0.95)


@pytest.mark.parametrize("border", TTFT_BORDERS)
def test_every_border_can_be_promised(border: float) -> None:
    both = {TTFT_SECONDS_ANNOTATION: f"{border:g}", TTFT_PERCENT_ANNOTATION: "99"}
    assert parse_objectives(both).ttft == TtftObjective(str(border), 0.99)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("0", '"0.001"'),
        ("0.3", '"0.25" and "0.5"'),
        ("3", '"2.5" and "5"'),
        ("9999", '"2560"'),
    ],
)
def test_a_time_between_borders_is_told_the_nearest(text: str, near: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_objectives({TTFT_SECONDS_ANNOTATION: text})
    (problem,) = caught.value.problems
    assert problem.field == f"metadata.annotations[{TTFT_SECONDS_ANNOTATION}]"
    assert "0.001, 0.005, 0.01, 0.02" in problem.message
    assert problem.message.endswith(f"nearest: {near}")


@pytest.mark.parametrize("text", ["", " 1", "-1", "+1", "1e0", "500ms", "0.5s", "nan", "inf", "½", "٣"])
@pytest.mark.parametrize("annotation", ANNOTATIONS)
def test_what_is_no_plain_number_is_refused(annotation: str, text: str) -> None:
    given = {TTFT_SECONDS_ANNOTATION: "1"} | {annotation: text}
    with pytest.raises(Invalid) as caught:
        parse_objectives(given)
    assert [problem.field for problem in caught.value.problems] == [f"metadata.annotations[{annotation}]"]


def test_every_problem_is_told_and_the_rest_stays_usable() -> None:
    wrong = {
        AVAILABILITY_ANNOTATION: "100",
        TTFT_SECONDS_ANNOTATION: "0.3",
        TTFT_PERCENT_ANNOTATION: "0",
    }
    with pytest.raises(Invalid) as caught:
        parse_objectives(wrong)
    assert len(caught.value.problems) == 3
    assert usable_objectives(wrong) == Objectives()
    assert usable_objectives(wrong | {AVAILABILITY_ANNOTATION: "99"}) == Objectives(availability=0.99)
    both = wrong | {TTFT_SECONDS_ANNOTATION: "1", TTFT_PERCENT_ANNOTATION: "90"}
    assert usable_objectives(both) == Objectives(ttft=TtftObjective("1.0", 0.9))


@given(st.dictionaries(st.sampled_from(ANNOTATIONS), st.text(max_size=12) | st.decimals().map(str)))
def test_whatever_stands_there_is_read_or_refused(annotations: dict[str, str]) -> None:
    usable = usable_objectives(annotations)
    assert usable.availability is None or 0 < usable.availability < 1
    assert usable.ttft is None or (float(usable.ttft.le) in TTFT_BORDERS and 0 < usable.ttft.share < 1)
    try:
        parsed = parse_objectives(annotations)
    except Invalid:
        parsed = usable
    assert parsed == usable
