"""The hand-written CRDs against each other and against the fields that the code knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoker.serving import names
from stoker.serving.api.objects import (
    EXTENSION_FIELDS,
    LEGACY_FORMATS,
    MODEL_FIELDS,
    PREDICTOR_FIELDS,
    parse_inference_service,
    parse_runtime,
)
from stoker.serving.api.shapes import CONTAINER_FIELDS, POD_FIELDS
from tests.serving import golden

CRDS = golden.MANIFESTS / "crds"
KINDS = ["inferenceservices", "servingruntimes", "clusterservingruntimes"]


def crd(plural: str) -> dict[str, Any]:
    return yaml.safe_load((CRDS / f"{plural}.yaml").read_text())


def schema(plural: str) -> dict[str, Any]:
    (version,) = crd(plural)["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


PREDICTOR = schema("inferenceservices")["properties"]["spec"]["properties"]["predictor"]["properties"]


@pytest.mark.parametrize("plural", KINDS)
def test_client_side_apply_has_room(plural: str) -> None:
    # kubectl apply copies the object, as JSON, into an annotation; annotations hold 256 KiB together.
    assert len(json.dumps(crd(plural))) < 64 * 1024


def test_the_schema_knows_the_fields_that_the_code_knows() -> None:
    assert set(PREDICTOR) == PREDICTOR_FIELDS | EXTENSION_FIELDS | POD_FIELDS | {"containers"}
    assert set(PREDICTOR["model"]["properties"]) == MODEL_FIELDS | CONTAINER_FIELDS
    assert set(PREDICTOR["huggingface"]["properties"]) == (
        (MODEL_FIELDS - {"modelFormat", "runtime"}) | CONTAINER_FIELDS
    )
    assert set(LEGACY_FORMATS) <= set(PREDICTOR)


def test_a_container_is_the_same_wherever_it_stands() -> None:
    own = PREDICTOR["containers"]["items"]["properties"]
    assert set(own) == CONTAINER_FIELDS
    runtime = schema("servingruntimes")["properties"]["spec"]["properties"]["containers"]["items"][
        "properties"
    ]
    assert own == runtime
    for place in ("model", "huggingface"):
        inlined = {name: PREDICTOR[place]["properties"][name] for name in CONTAINER_FIELDS}
        assert inlined == own


def test_the_pod_is_the_same_wherever_it_stands() -> None:
    runtime = schema("servingruntimes")["properties"]["spec"]["properties"]
    for name in POD_FIELDS:
        assert runtime[name] == PREDICTOR[name]


def test_both_kinds_of_runtime_have_one_schema() -> None:
    assert schema("servingruntimes") == schema("clusterservingruntimes")
    versions = [crd(plural)["spec"]["versions"][0] for plural in KINDS[1:]]
    assert versions[0]["additionalPrinterColumns"] == versions[1]["additionalPrinterColumns"]


def test_names_of_the_schema_are_those_of_the_code() -> None:
    for plural, kind in zip(
        KINDS, ("InferenceService", "ServingRuntime", "ClusterServingRuntime"), strict=True
    ):
        found = crd(plural)
        assert (found["spec"]["group"], found["spec"]["names"]["kind"]) == (names.GROUP, kind)
    rules = schema("inferenceservices")["x-kubernetes-validations"]
    assert any(f"<= {names.MAX_NAME_LENGTH}" in rule["rule"] for rule in rules)


def _strings_and_lists(tree: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(tree, dict):
        return []
    found = [(path, tree)] if tree.get("type") in ("string", "array") else []
    for name, value in tree.get("properties", {}).items():
        found += _strings_and_lists(value, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        found += _strings_and_lists(tree.get(name), f"{path}.{name}")
    return found


@pytest.mark.parametrize("plural", KINDS)
def test_every_string_and_list_is_bounded(plural: str) -> None:
    unbounded = [
        path
        for path, each in _strings_and_lists(schema(plural)["properties"]["spec"], "spec")
        if (each["type"] == "array" and "maxItems" not in each)
        or (each["type"] == "string" and not {"maxLength", "enum", "format"} & each.keys())
    ]
    assert unbounded == []


def test_the_seeds_yaml_is_shipped_word_for_word() -> None:
    seed = yaml.safe_load((golden.MANIFESTS / "samples" / "seed.yaml").read_text())
    assert seed == {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "huggingface-llama3"},
        "spec": {
            "predictor": {
                "model": {
                    "modelFormat": {"name": "huggingface"},
                    "args": ["--model_name=llama3", "--model_id=meta-llama/meta-llama-3-8b-instruct"],
                    "resources": {
                        "limits": {"cpu": "6", "memory": "24Gi", "nvidia.com/gpu": "1"},
                        "requests": {"cpu": "6", "memory": "24Gi", "nvidia.com/gpu": "1"},
                    },
                }
            }
        },
    }


@pytest.mark.parametrize(
    "path", sorted((golden.MANIFESTS / "samples").glob("s*.yaml")), ids=lambda path: path.stem
)
def test_samples_parse(path: Path) -> None:
    assert parse_inference_service(yaml.safe_load(path.read_text())).predictor.model is not None


def test_the_shipped_runtime_is_what_it_says() -> None:
    runtime = parse_runtime(golden.shipped_runtime())
    assert (runtime.scope, runtime.name, runtime.protocol_versions) == (
        "cluster",
        "kserve-huggingfaceserver",
        ("v2", "v1"),
    )
    assert [(each.name, each.version, each.auto_select, each.priority) for each in runtime.formats] == [
        ("huggingface", "1", True, 1)
    ]
    assert runtime.annotations[names.ARGS_SCHEMA_ANNOTATION] in golden.args_schemas()
