"""Kubernetes' own schema of a pod, cut from what the API server says of itself at /openapi/v3.

`python -m tests.admission.kubernetes_schema --write` starts an API server and writes the file anew;
test_kubernetes_schema.py compares it with the API server of the test session.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stoker.local import building, control_plane, programs
from stoker.local.control_plane import ApiServer
from stoker.local.progress import Progress

FILE = Path(__file__).parents[2] / "stoker" / "serving" / "admission" / "pod_schema.json"
_CORE = "io.k8s.api.core.v1."
_WORDS = ("type", "format", "enum", "required")
_QUANTITY = {"type": ["string", "number"], "format": "quantity"}
_INT_OR_STRING = {"type": ["integer", "string"]}
# A claim's template holds an ObjectMeta; nothing of it shapes a pod.
_LEFT_OUT = {"ObjectMeta": {"type": "object"}}


def read() -> dict[str, Any]:
    """The file."""
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


def asked(server: ApiServer) -> dict[str, Any]:
    """The OpenAPI document of the core group."""
    command = [str(building.kubectl(Progress())), f"--kubeconfig={server.kubeconfig}"]
    done = subprocess.run(
        [*command, "get", "--raw", "/openapi/v3/api/v1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def trimmed(openapi: dict[str, Any], version: str) -> str:
    """PodSpec and all that it refers to as one JSON Schema; text to write into the file."""
    schemas = openapi["components"]["schemas"]
    made: dict[str, Any] = {}
    waiting = [f"{_CORE}PodSpec"]
    while waiting:
        full = waiting.pop()
        name = full.rpartition(".")[2]
        if name in made:
            continue
        made[name] = _LEFT_OUT.get(name) or _definition(schemas[full])
        waiting += [each for each in _references(schemas[full]) if name not in _LEFT_OUT]
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"PodSpec of Kubernetes {version}",
        "$comment": "Written by python -m tests.admission.kubernetes_schema --write",
        "$ref": "#/$defs/PodSpec",
        "$defs": dict(sorted(made.items())),
    }
    return json.dumps(document, indent=1) + "\n"


def _definition(given: dict[str, Any]) -> dict[str, Any]:
    if given.get("format") == "int-or-string":
        return _INT_OR_STRING
    if "oneOf" in given:
        return _QUANTITY
    made = {word: given[word] for word in _WORDS if word in given}
    if "enum" in made:
        made["enum"] = sorted(made["enum"])
    if given.get("x-kubernetes-list-type") == "map":
        made["x-list-map-keys"] = given["x-kubernetes-list-map-keys"]
    if "properties" in given:
        made["properties"] = {name: _property(each) for name, each in sorted(given["properties"].items())}
        made["additionalProperties"] = False
    elif "additionalProperties" in given:
        made["additionalProperties"] = _property(given["additionalProperties"])
    if "items" in given:
        made["items"] = _property(given["items"])
    return made


def _property(given: dict[str, Any]) -> dict[str, Any]:
    references = list(_references({key: given.get(key) for key in ("$ref", "allOf")}))
    if references:
        return {"$ref": f"#/$defs/{references[0].rpartition('.')[2]}"}
    return _definition(given)


def _references(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == "$ref" and value:
                yield value.rpartition("/")[2]
            else:
                yield from _references(value)
    elif isinstance(tree, list):
        for each in tree:
            yield from _references(each)


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True, help="write the file anew")
    parser.parse_args()
    found = programs.find(programs.CONTROL_PLANE)
    with control_plane.temporary(found.paths) as server:
        openapi = asked(server)
    FILE.write_text(trimmed(openapi, openapi["info"]["version"]))


if __name__ == "__main__":
    main()
