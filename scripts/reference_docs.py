"""Writes the generated parts of docs/api.md (from the CRDs) and docs/kserve-fields.md (from a table).

`python -m scripts.reference_docs --write`. A page keeps its prose: only what stands between
`<!-- generated: NAME -->` and `<!-- end -->` is written anew.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from stoker.serving.api import fields
from stoker.serving.api.fields import Field
from stoker.serving.api.metadata import METADATA
from stoker.serving.api.shapes import CONTAINER_FIELDS, POD_FIELDS

ROOT = Path(__file__).parents[1]
PAGES = {"api": ROOT / "docs" / "api.md", "kserve-fields": ROOT / "docs" / "kserve-fields.md"}
_PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def page(name: str) -> str:
    """The page's text with its generated parts as they should be."""
    parts = _api_parts() if name == "api" else _field_parts()
    found: set[str] = set()

    def part(match: re.Match[str]) -> str:
        found.add(match[2])
        return f"{match[1]}{parts[match[2]]}\n{match[3]}"

    text = _PART.sub(part, PAGES[name].read_text())
    if found != parts.keys():
        raise ValueError(f"{PAGES[name]} lacks the parts {sorted(parts.keys() - found)}")
    return text


def _api_parts() -> dict[str, str]:
    isvc = _schema("inferenceservices")["spec"]["properties"]["predictor"]
    runtime = _schema("clusterservingruntimes")["spec"]
    model = isvc["properties"]["model"]
    return {
        "predictor": _table(
            _rows(
                isvc, "", {**fields.PREDICTOR, **fields.EXTENSION}, leave=POD_FIELDS, closed=fields.PREDICTOR
            )
        ),
        "model": _table(_rows(model, "", fields.MODEL, leave=CONTAINER_FIELDS)),
        "container": _table(_rows(_only(model, CONTAINER_FIELDS), "", fields.CONTAINER)),
        "pod": _table(_rows(_only(isvc, POD_FIELDS), "", fields.POD)),
        "runtime": _table(_rows(runtime, "", {}, leave=POD_FIELDS, closed={"containers": None})),
        "status": _table(_rows(_schema("inferenceservices")["status"], "", {})),
        "rules": "\n".join(f"- `{path}`: {message}" for path, message in _rules()),
        "columns": _columns(),
    }


def _field_parts() -> dict[str, str]:
    return {
        "spec": _fates(fields.SPEC.values()),
        "predictor": _fates(fields.PREDICTOR.values()),
        "extension": _fates(fields.EXTENSION.values()),
        "model": _fates(fields.MODEL.values()),
        "container": _fates(fields.CONTAINER.values()),
        "pod": _fates(fields.POD.values()),
        "metadata": _fates(METADATA),
    }


def _fates(rows: Iterable[Field]) -> str:
    lines = ["| field | | what comes of it |", "|---|---|---|"]
    for row in rows:
        which = f" ({row.only})" if row.only else ""
        lines.append(f"| `{row.name}` | {row.fate}{which} | {_cell(row.note)} |")
    return "\n".join(lines)


def _crd(plural: str) -> Any:
    return yaml.safe_load((ROOT / "manifests" / "crds" / f"{plural}.yaml").read_text())


def _schema(plural: str) -> Any:
    (version,) = _crd(plural)["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]["properties"]


def _columns() -> str:
    (version,) = _crd("inferenceservices")["spec"]["versions"]
    lines = ["| column | from |", "|---|---|"]
    for column in version["additionalPrinterColumns"]:
        wide = " (`-o wide`)" if column.get("priority") else ""
        lines.append(f"| {column['name']}{wide} | `{column['jsonPath']}` |")
    return "\n".join(lines)


def _rules() -> Iterator[tuple[str, str]]:
    """Every CEL rule of the three CRDs with the path that it is reported at."""
    for plural in ("inferenceservices", "clusterservingruntimes"):
        (version,) = _crd(plural)["spec"]["versions"]
        top = "InferenceService" if plural == "inferenceservices" else "ServingRuntime, ClusterServingRuntime"
        for path, message in dict.fromkeys(_rules_in(version["schema"]["openAPIV3Schema"], "")):
            yield f"{top} {path}".strip(), message


def _rules_in(schema: Any, path: str) -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield (path + rule.get("fieldPath", "")).lstrip("."), _cell(rule.get("message", rule["rule"]))
    for name, inner in schema.get("properties", {}).items():
        yield from _rules_in(inner, f"{path}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from _rules_in(schema["items"], f"{path}[]")


def _only(schema: Any, names: frozenset[str]) -> Any:
    chosen = {name: each for name, each in schema["properties"].items() if name in names}
    return {"properties": chosen, "required": schema.get("required", ())}


def _rows(
    schema: Any,
    prefix: str,
    notes: Mapping[str, Field],
    leave: frozenset[str] = frozenset(),
    closed: Mapping[str, Any] = {},
) -> Iterator[tuple[str, str, str, str]]:
    """Path, type, bounds and meaning of fields; without those in `leave`, and not into those in `closed`."""
    for name, each in schema.get("properties", {}).items():
        if name in leave:
            continue
        meaning = _meaning(each.get("description", ""), notes.get(name))
        bounds = ["required"] if name in schema.get("required", ()) else []
        yield f"{prefix}{name}", _type(each), ", ".join([*bounds, *_bounds(each)]), meaning
        if name not in closed:
            inner = each["items"] if isinstance(each.get("items"), dict) else each
            yield from _rows(inner, f"{prefix}{name}{'[]' if inner is not each else ''}.", {})


def _meaning(description: str, row: Field | None) -> str:
    """The schema's words, else the table's, and always what is refused or warned about."""
    note = row.note if row else ""
    if row is None or row.fate == "supported":
        return _cell(description or note[:1].upper() + note[1:])
    which = f" ({row.only})" if row.only else ""
    return _cell(f"{description} {row.fate.capitalize()}{which}: {note}")


def _type(schema: Any) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map to {_type(schema['additionalProperties'])}"
    return str(schema.get("type", "any"))


def _bounds(schema: Any) -> Iterator[str]:
    if "enum" in schema:
        yield "one of " + ", ".join(f"`{each}`" for each in schema["enum"] if each != "")
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None or high is not None:
        yield f"{'' if low is None else low} to {high}" if high is not None else f"at least {low}"
    for name, unit in (("maxLength", "characters"), ("maxItems", "entries"), ("maxProperties", "entries")):
        if name in schema:
            yield f"at most {schema[name]} {unit}"
    if "default" in schema:
        yield f"default `{schema['default']}`"


def _table(rows: Iterable[tuple[str, str, str, str]]) -> str:
    lines = ["| field | type | bounds | meaning |", "|---|---|---|---|"]
    return "\n".join(
        lines + [f"| `{path}` | {kind} | {bounds} | {said} |" for path, kind, bounds, said in rows]
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True, help="write the pages anew")
    parser.parse_args()
    for name, path in PAGES.items():
        path.write_text(page(name))


if __name__ == "__main__":
    main()
