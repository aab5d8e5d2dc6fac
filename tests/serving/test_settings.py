from __future__ import annotations

import pytest

from stoker.serving import names
from stoker.serving.problems import Invalid, child, nearest, not_supported
from stoker.serving.settings import Accelerator, Settings


def test_nothing_given_is_the_defaults() -> None:
    assert Settings.from_mapping({}) == Settings()


def test_the_table_of_accelerators() -> None:
    rows = [{"resource": "amd.com/gpu", "image_suffix": "-rocm", "node_selector": {"gpu": "amd"}}]
    settings = Settings.from_mapping({"image_variants": {"without_accelerator": "", "accelerators": rows}})
    row = settings.image_variants.accelerator("amd.com/gpu")
    assert row is not None
    assert (row.image_suffix, row.node_selector) == ("-rocm", {"gpu": "amd"})
    # A row for one vendor takes no other's away, and comes before the one that it replaces.
    assert settings.image_variants.accelerator("nvidia.com/gpu") == Accelerator(
        "nvidia.com/gpu", "-cuda", "-gpu"
    )
    assert settings.image_variants.accelerator("habana.ai/gaudi") == Accelerator("habana.ai/gaudi", None)


def test_all_problems_at_once() -> None:
    given = {
        "domian": "x",
        "domain": "",
        "url_template": "{name}.{domain}",
        "url_scheme": "ftp",
        "hand_over_after": 0,
        "drain_seconds": 1.5,
        "missing_runtime": ["warn"],
        "shared_memory": "4GB",
        "pod_security": "baseline",
        "image_variants": {"accelerators": [{"resource": 1, "sufix": "-x"}], "other": 1},
    }
    with pytest.raises(Invalid) as caught:
        Settings.from_mapping(given)
    assert {problem.field for problem in caught.value.problems} == {
        "domian",
        "domain",
        "url_template",
        "url_scheme",
        "hand_over_after",
        "drain_seconds",
        "missing_runtime",
        "shared_memory",
        "pod_security",
        "image_variants.accelerators[0].resource",
        "image_variants.accelerators[0].image_suffix",
        "image_variants.accelerators[0].sufix",
        "image_variants.other",
    }
    assert 'did you mean "domain"' in str(caught.value)


@pytest.mark.parametrize(
    "template", ["{name}", "{name}{namespace}{x}", "{name!r}{namespace}", "{name", "{0}", 5]
)
def test_templates_that_would_mix_up_hosts(template: object) -> None:
    with pytest.raises(Invalid, match="url_template"):
        Settings.from_mapping({"url_template": template})


def test_hosts_are_lower_case_and_follow_the_template() -> None:
    settings = Settings.from_mapping({"domain": "Models.Example.ORG", "url_scheme": "https"})
    assert names.url("llama", "team", settings) == "https://llama.team.models.example.org"
    flat = Settings.from_mapping({"url_template": "{name}-{namespace}.{domain}"})
    assert names.host("llama", "team", flat) == "llama-team.example.com"
    assert names.address("llama", "team", settings) == "http://llama-predictor.team.svc.cluster.local"


def test_the_longest_name_leaves_room_for_its_revisions() -> None:
    assert len("n" * names.MAX_NAME_LENGTH + "-predictor-00001") == names.MAX_LABEL_LENGTH


@pytest.mark.parametrize(
    ("word", "allowed", "found"),
    [
        ("huggingfase", ["huggingface", "onnx"], "huggingface"),
        ("Hugging_Face", ["hugging-face"], "hugging-face"),
        ("model_nam", ["model_id", "model_name"], "model_name"),
        ("zzz", ["huggingface"], None),
        ("x", [], None),
    ],
)
def test_nearest(word: str, allowed: list[str], found: str | None) -> None:
    assert nearest(word, allowed) == found


def test_a_long_list_is_cut_and_the_nearest_is_still_named() -> None:
    message = not_supported("f", "word-77x", [f"word-{n}" for n in range(500)]).message
    assert "and 488 more" in message
    assert 'did you mean "word-77"?' in message


def test_paths_of_fields() -> None:
    assert child("spec", "a", 0, "nvidia.com/gpu", "b") == "spec.a[0][nvidia.com/gpu].b"
    assert child("", "spec") == "spec"
