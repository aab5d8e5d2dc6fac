"""The generated files, as they should be."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from scripts.monitoring import rules
from scripts.monitoring.control_plane import control_plane
from scripts.monitoring.fleet import fleet
from scripts.monitoring.service import service

FOLDER = Path(__file__).parents[2] / "manifests/monitoring"


def files() -> dict[Path, str]:
    """Path -> text."""
    boards = {"fleet": fleet(), "service": service(), "control-plane": control_plane()}
    made = {
        FOLDER / "dashboards" / f"{name}.json": json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True)
        + "\n"
        for name, board in boards.items()
    }
    return made | {rules.OBJECT: rules.prometheus_rule()}
