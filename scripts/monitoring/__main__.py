"""Writes manifests/monitoring's generated files."""

from __future__ import annotations

import argparse

from scripts.monitoring import generated

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True)
    parser.parse_args()
    for path, text in generated.files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
