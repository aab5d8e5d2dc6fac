"""Revisions: what is stored comes back, inputs seen before are found again, numbers only grow."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stoker.serving.api.objects import InferenceService, parse_inference_service
from stoker.serving.rollouts.children import controller_revision
from stoker.serving.rollouts.revisions import (
    HISTORY,
    Revision,
    RuntimeReference,
    choose_revision,
    inputs_hash,
    make_revision,
    next_number,
    parse_revision,
    revision_name,
    revision_number,
    to_prune,
)

WORD = st.text("ab/.-é", max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | WORD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(WORD, JSON, max_size=4)


def isvc() -> InferenceService:
    model = {"modelFormat": {"name": "huggingface"}}
    obj = {"metadata": {"name": "llm", "uid": "1"}, "spec": {"predictor": {"model": model}}}
    return parse_inference_service(obj)


def revision(number: int, inputs: dict[str, Any] | None = None) -> Revision:
    return make_revision("llm", number, template={"spec": {}}, inputs=inputs or {}, runtime=None)


def test_names_are_kserves() -> None:
    assert revision_name("llm", 1) == "llm-predictor-00001"
    assert revision_name("llm", 123456) == "llm-predictor-123456"
    assert [revision_number(each) for each in ("llm-predictor-00012", "llm", "llm-predictor-1")] == [
        12,
        None,
        None,
    ]


@given(OBJECT, OBJECT)
def test_what_is_stored_comes_back(inputs: dict[str, Any], spec: dict[str, Any]) -> None:
    runtime = RuntimeReference("ServingRuntime", "vllm")
    made = make_revision("llm", 3, template={"spec": spec}, inputs=inputs, runtime=runtime)
    stored = controller_revision(isvc(), made)
    stored["metadata"]["uid"] = "u"
    back = parse_revision(stored)
    assert back == Revision(made.name, 3, inputs, made.template, runtime, "u")


def test_pods_carry_the_revisions_name() -> None:
    template = {"metadata": {"labels": {"mine": "x", "stoker.dev/revision": "forged"}}, "spec": {}}
    made = make_revision("llm", 2, template=template, inputs={}, runtime=None)
    assert made.template["metadata"]["labels"] == {
        "mine": "x",
        "stoker.dev/revision": "llm-predictor-00002",
        "serving.kserve.io/inferenceservice": "llm",
        "component": "predictor",
        "app.kubernetes.io/name": "inferenceservice",
        "app.kubernetes.io/instance": "llm",
        "app.kubernetes.io/component": "predictor",
        "app.kubernetes.io/part-of": "stoker",
        "app.kubernetes.io/managed-by": "stoker-controller",
    }
    assert template["metadata"]["labels"]["stoker.dev/revision"] == "forged", "the input is not changed"


def test_objects_that_are_no_revisions_are_left_out() -> None:
    for obj in (
        {},
        {"metadata": {"name": "x"}, "revision": 1, "data": None},
        {"revision": 1, "data": {"template": 1}},
    ):
        assert parse_revision(obj) is None


@given(OBJECT)
def test_the_hash_does_not_depend_on_the_order_of_keys(inputs: dict[str, Any]) -> None:
    turned = dict(reversed(list(inputs.items())))
    assert inputs_hash(inputs) == inputs_hash(turned)
    assert inputs_hash(inputs) != inputs_hash({**inputs, "more": 1, "and more": 2})


def test_the_newest_revision_with_todays_inputs_is_chosen() -> None:
    stored = [revision(1, {"a": 1}), revision(2, {"a": 2}), revision(3, {"a": 1}), revision(4, {"a": 3})]
    chosen = choose_revision(stored, lambda _: {"a": 1})
    assert chosen is not None
    assert chosen.number == 3
    assert choose_revision(stored, lambda _: {"a": 9}) is None


def test_inputs_are_asked_for_with_the_keys_that_the_stored_ones_used() -> None:
    """A runtime edited to use another label later changes nothing for a stored revision."""
    labels = {"team": "red", "tier": "gold"}
    stored = [revision(1, {"labels": {"team": "red"}}), revision(2, {"labels": {"tier": "silver"}})]
    chosen = choose_revision(
        stored, lambda inputs: {"labels": {key: labels[key] for key in inputs["labels"]}}
    )
    assert chosen is not None
    assert chosen.number == 1


def test_inputs_written_by_another_release_are_read_as_this_one_would_write_them() -> None:
    stored = [revision(1, {"predictor": {"cpu": "1000m", "dropped": 1}})]
    today = {"predictor": {"cpu": "1"}}
    assert choose_revision(stored, lambda _: today) is None
    assert choose_revision(stored, lambda _: today, lambda _: today) == stored[0]


@given(st.sets(st.integers(1, 99999)), st.sets(st.integers(1, 99999)))
def test_numbers_only_grow(stored: set[int], deployed: set[int]) -> None:
    number = next_number(
        [revision(each) for each in stored], [revision_name("llm", each) for each in deployed]
    )
    assert number > max(stored | deployed | {0})


@given(st.sets(st.integers(1, 200)), st.sets(st.integers(1, 200)))
def test_pruning_spares_what_is_in_use_and_the_newest(numbers: set[int], used: set[int]) -> None:
    stored = [revision(each) for each in numbers]
    gone = {each.number for each in to_prune(stored, [revision_name("llm", each) for each in used])}
    assert not gone & used
    unused = numbers - used
    assert unused - gone == set(sorted(unused)[-HISTORY:])
