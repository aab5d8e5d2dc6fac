"""Objects against the schemas of the CRDs, as an API server would check them with fieldValidation=Strict.

A structural schema is JSON Schema but for four things, which are put in here: unknown fields are mistakes
where the schema does not say that it keeps them; int-or-string; lists that are maps by a key; and metadata,
which the API server judges by itself. The CRDs' CEL rules cannot be run without an API server: the webhook's
rules, which run here too, say most of them again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from stoker.serving.problems import (
    FieldProblem,
    child,
    duplicate,
    invalid,
    nearest,
    not_supported,
    required,
)

Object = dict[str, Any]

CRDS = Path(__file__).resolve().parents[3] / "manifests" / "crds"
_KEPT = "x-kubernetes-preserve-unknown-fields"
_METADATA = frozenset(
    """
    annotations creationTimestamp deletionGracePeriodSeconds deletionTimestamp finalizers generateName
    generation labels managedFields name namespace ownerReferences resourceVersion selfLink uid
    """.split()  # noqa: SIM905
)
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_SIZES = {"int32": 2**31 - 1, "int64": 2**63 - 1}
_JSON_TYPES = {"integer": "a whole number", "string": "a string", "object": "an object", "array": "a list"}


class Schemas:
    """The schemas of a folder of CRDs, by apiVersion and kind."""

    def __init__(self, folder: Path = CRDS) -> None:
        self._validators: dict[tuple[str, str], Any] = {}
        for path in sorted(folder.glob("*.yaml")):
            crd = yaml.safe_load(path.read_text())
            if crd.get("kind") != "CustomResourceDefinition":
                continue
            for version in crd["spec"]["versions"]:
                name = f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]
                self._validators[name] = _Validator(strict(version["schema"]["openAPIV3Schema"]))

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """(apiVersion, kind) of every schema."""
        return list(self._validators)

    def check(self, obj: Object) -> list[FieldProblem]:
        """Problems of an object of a known kind, in the order of its fields."""
        validator = self._validators[obj["apiVersion"], obj["kind"]]
        errors = validator.iter_errors(_without_nulls(obj))
        found = [problem for error in errors for problem in _problems(error)]
        return [*dict.fromkeys(found), *_metadata(obj.get("metadata"))]


def strict(schema: Object) -> Object:
    """A structural schema as a JSON Schema that refuses unknown fields."""
    made = {name: value for name, value in schema.items() if name not in ("properties", "items", "format")}
    if schema.get("format") in _SIZES:
        most = _SIZES[schema["format"]]
        made["minimum"] = max(made.get("minimum", -most - 1), -most - 1)
        made["maximum"] = min(made.get("maximum", most), most)
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("anyOf", None)
        made["type"] = ["integer", "string"]
    if "properties" in schema:
        made["properties"] = {name: strict(inner) for name, inner in schema["properties"].items()}
        if "metadata" in made["properties"]:  # the top: the API server knows metadata itself
            made["properties"]["metadata"] = {"type": "object"}
        if not schema.get(_KEPT):
            made["additionalProperties"] = False
    if isinstance(schema.get("additionalProperties"), Mapping):
        made["additionalProperties"] = strict(schema["additionalProperties"])
    if "items" in schema:
        made["items"] = strict(schema["items"])
    return made


def _without_nulls(value: Any) -> Any:
    """An API server drops fields that are null where the schema does not want null, as ours never do."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _unique_by_key(
    validator: Any, keys: Sequence[str], items: Any, schema: Object
) -> Iterator[jsonschema.ValidationError]:
    seen: set[str] = set()
    for number, item in enumerate(items if isinstance(items, list) else []):
        key = repr([item.get(each) for each in keys]) if isinstance(item, Mapping) else ""
        if key and key in seen:
            yield jsonschema.ValidationError("duplicate", validator="duplicate", path=[number], instance=item)
        seen.add(key)


_Validator: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator, {"x-kubernetes-list-map-keys": _unique_by_key}
)


def _problems(error: jsonschema.ValidationError) -> Iterator[FieldProblem]:
    """In our words: jsonschema's repeat whole objects."""
    path, keyword = child("", *error.absolute_path), str(error.validator)
    value: Any = error.instance
    wanted: Any = error.validator_value
    match keyword:
        case "required":
            yield from (required(child(path, name), "") for name in wanted if name not in value)
        case "additionalProperties":
            known = _known(error.schema)
            for name in sorted(str(each) for each in value.keys() - known):
                meant = nearest(name, known)
                hint = f'; did you mean "{meant}"?' if meant else ""
                yield FieldProblem(child(path, name), "FieldValueNotSupported", f"Unknown field{hint}")
        case "enum":
            yield not_supported(path, value, [str(each) for each in wanted if each != ""])
        case "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            yield invalid(path, value, f"must be {' or '.join(_JSON_TYPES.get(one, one) for one in kinds)}")
        case "duplicate":
            yield duplicate(path, value)
        case "minimum" | "maximum":
            yield invalid(path, value, f"must be at {_bound(keyword)} {wanted}")
        case "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties":
            unit = "characters" if keyword.endswith("Length") else "entries"
            yield invalid(path, value, f"must have at {_bound(keyword)} {wanted} {unit}")
        case _:
            yield invalid(path, value, f"must match {keyword} {wanted}")


def _known(schema: Any) -> Mapping[str, Any]:
    properties: Mapping[str, Any] = schema.get("properties", {})
    return properties


def _bound(keyword: str) -> str:
    return "least" if keyword.startswith("min") else "most"


def _metadata(metadata: Any) -> Iterator[FieldProblem]:
    if not isinstance(metadata, Mapping):
        yield required("metadata", "a name")
        return
    if not metadata.get("name") and not metadata.get("generateName"):
        yield required("metadata.name", "name or generateName is required")
    for name in sorted(str(each) for each in metadata.keys() - _METADATA):
        meant = nearest(name, _METADATA)
        hint = f'; did you mean "{meant}"?' if meant else ""
        yield FieldProblem(child("metadata", name), "FieldValueNotSupported", f"Unknown field{hint}")
    for kind in ("labels", "annotations"):
        words = metadata.get(kind) or {}
        if not isinstance(words, Mapping):
            yield invalid(f"metadata.{kind}", words, "must be an object")
            continue
        for key, value in words.items():
            here = child("metadata", kind, str(key))
            if not isinstance(value, str):
                yield invalid(here, value, "must be a string; write numbers and booleans in quotes")
            elif kind == "labels" and not _LABEL_VALUE.fullmatch(value):
                yield invalid(here, value, "must be at most 63 letters, digits, '-', '_' and '.'")
            if not _LABEL_KEY.fullmatch(str(key)):
                yield invalid(here, key, "must be a name with an optional prefix, as in example.com/name")
