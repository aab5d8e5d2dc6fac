"""Golden pairs: `CASE.input.yaml` in a folder, and `CASE.output.yaml` that some rule makes of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml


def cases(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(".input.yaml") for path in folder.glob("*.input.yaml"))


def recorded(folder: Path) -> set[str]:
    """The cases that have an output, whether or not they have an input."""
    return {path.name.removesuffix(".output.yaml") for path in folder.glob("*.output.yaml")}


def dumped(shown: dict[str, Any]) -> str:
    """An output's text: for reading, so without anchors."""
    return yaml.dump(shown, Dumper=_Plain, sort_keys=False, width=10_000, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def main(description: str | None, folder: Path, output_of: Callable[[str], str]) -> None:
    """Writes the outputs anew, and takes away those whose input is gone."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--write", action="store_true", required=True, help="write the outputs anew")
    parser.parse_args()
    for case in cases(folder):
        (folder / f"{case}.output.yaml").write_text(output_of(case))
    for case in recorded(folder) - set(cases(folder)):
        (folder / f"{case}.output.yaml").unlink()
