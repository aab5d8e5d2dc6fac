"""What the panels' queries answered over some minutes: asked once, kept as JSON, drawn as often as wanted."""

from __future__ import annotations

import json
import math
import re
import urllib.parse
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scripts.monitoring import listing
from scripts.monitoring.listing import ListedPanel


@dataclass(frozen=True)
class Series:
    """One line: its labels, its legend, and (seconds since the beginning, value); a gap is no value."""

    labels: dict[str, str]
    legend: str
    times: list[float]
    values: list[float]


@dataclass(frozen=True)
class Recording:
    """`answers`: dashboard/row/title/kind/refId -> series; of stat and table panels the last instant."""

    seconds: float
    step: float
    answers: dict[str, list[Series]] = field(default_factory=dict)

    def of(self, panel: ListedPanel, ref_id: str) -> list[Series]:
        """What a panel's query answered."""
        return self.answers.get(_key(panel, ref_id), [])

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read what `save` wrote."""
        content = json.loads(path.read_text())
        answers = {key: [Series(**each) for each in found] for key, found in content["answers"].items()}
        return cls(content["seconds"], content["step"], answers)


def record(url: str, *, end: float, seconds: float, step: float, choices: dict[str, str]) -> Recording:
    """Ask a Prometheus for every panel between `end - seconds` and `end` (Unix time).

    `choices`: Grafana's variables by name, as `listing.chosen` takes them.
    """
    made = Recording(seconds, step)
    for panel in listing.panels():
        for query in panel.queries:
            expr = listing.chosen(query.expr, **choices)
            if panel.kind in ("stat", "table"):
                found = _ask(url, "query", query=expr, time=end)
            else:
                found = _ask(url, "query_range", query=expr, start=end - seconds, end=end, step=step)
            series = [_series(each, query.legend, end - seconds) for each in found]
            made.answers[_key(panel, query.ref_id)] = [each for each in series if each.values]
    return made


def _key(panel: ListedPanel, ref_id: str) -> str:
    return "/".join((panel.dashboard, panel.row, panel.title, panel.kind, ref_id))


def _series(found: dict[str, Any], legend: str, begin: float) -> Series:
    labels: dict[str, str] = found["metric"]
    pairs = found["values"] if "values" in found else [found["value"]]
    kept = [(at - begin, float(value)) for at, value in pairs if math.isfinite(float(value))]
    words = re.sub(r"{{\s*(\w+)\s*}}", lambda match: labels.get(match[1], ""), legend)
    return Series(labels, words, [at for at, _ in kept], [value for _, value in kept])


def _ask(url: str, path: str, **parameters: object) -> list[dict[str, Any]]:
    words = urllib.parse.urlencode({name: str(value) for name, value in parameters.items()})
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{words}", timeout=30) as answer:  # noqa: S310
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found
