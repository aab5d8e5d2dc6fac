"""What an administrator gives all programs: the settings file, and the folder of argument schemas.

Each program has the same two flags for the settings, `add_settings_flags`; a mistake in them ends it with a
message before it has done anything.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import structlog
import yaml

from stoker.serving.problems import Invalid
from stoker.serving.settings import Settings

log = structlog.get_logger()


def add_settings_flags(parser: argparse.ArgumentParser) -> None:
    """`--settings-file` and `--domain`."""
    parser.add_argument(
        "--settings-file", type=Path, metavar="FILE", help="YAML of settings; absent: defaults"
    )
    parser.add_argument("--domain", help="domain of InferenceServices' hosts; wins over the settings file")


def take_settings(parser: argparse.ArgumentParser, given: dict[str, Any]) -> Settings:
    """Take both flags out of the parsed ones; ends the program with a message where they are wrong."""
    file, domain = given.pop("settings_file"), given.pop("domain")
    try:
        return read_settings(file, domain)
    except (ValueError, OSError, Invalid, yaml.YAMLError) as fault:
        parser.error(str(fault))


def read_settings(file: Path | None, domain: str | None = None) -> Settings:
    """The settings in a YAML file, defaults without one; a `domain` wins over the file's.

    Raises ValueError, OSError, Invalid, YAMLError.
    """
    given = yaml.safe_load(file.read_text()) if file else {}
    if not isinstance(given, dict | None):
        raise ValueError(f"{file}: must be a mapping of settings")
    return Settings.from_mapping((given or {}) | ({"domain": domain} if domain else {}))


def load_args_schemas(folder: Path) -> Mapping[str, dict[str, Any]]:
    """JSON Schemas of runtimes' flags by file stem. What is missing or damaged is left out, with a log line:

    its flags then go unchecked, which is less than a webhook that does not start.
    """
    found: dict[str, dict[str, Any]] = {}
    files = sorted(folder.glob("*.json"))
    if not files:
        log.warning("there are no argument schemas: flags are not checked", folder=str(folder))
    for file in files:
        try:
            schema = json.loads(file.read_bytes())
            jsonschema.Draft202012Validator.check_schema(schema)
        except (OSError, ValueError, jsonschema.SchemaError) as fault:
            log.error("an argument schema cannot be used", file=str(file), reason=str(fault)[:200])
            continue
        found[file.stem] = schema
    return found
