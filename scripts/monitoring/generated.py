"""The generated files, as they should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from scripts.monitoring import rules
from scripts.monitoring.control_plane import control_plane
from scripts.monitoring.fleet import fleet
from scripts.monitoring.service import service

FOLDER = Path(__file__).parents[2] / "manifests/monitoring"


def files() -> dict[Path, str]:
    """Path -> text."""
    made = {
        FOLDER / "dashboards" / f"{name}.json": json.dumps(board, indent=2, sort_keys=True) + "\n"
        for name, board in boards().items()
    }
    return made | {rules.OBJECT: rules.prometheus_rule()}


def boards() -> dict[str, dict[str, Any]]:
    """The dashboards by name, as Grafana reads them."""
    made = {"fleet": fleet(), "service": service(), "control-plane": control_plane()}
    return {name: json.loads(json.dumps(board, cls=JSONEncoder)) for name, board in made.items()}
