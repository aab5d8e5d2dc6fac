"""`status.components.predictor.traffic`: which revision gets how much, as the gateway weighs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stoker.serving.api.reading import Object


@dataclass(frozen=True)
class Weights:
    """`ready`: pods by revision that are ready and stay. `old`: the revision that the target replaces."""

    ready: Mapping[str, int]
    target: str
    old: str | None = None
    canary: int | None = None  # the target's percentage, where it is fixed


def table(weights: Weights, before: Sequence[Object]) -> list[Object]:
    """The traffic table: whole percentages, 100 in sum, split by ready pods or as the canary says.

    `latestRevision` marks the newest revision that is ready, which is the old one until the target has a
    ready pod; `tag: prev` the one it takes over from. Without any ready pod the table stays as it was, so
    it is empty exactly as long as nothing was ever ready.
    """
    percents = _percents(weights)
    if not percents:
        return [dict(entry) for entry in before]
    latest = weights.target if weights.target in percents else _main(percents, weights.old)
    rest = {name: percent for name, percent in percents.items() if name != latest}
    previous = _main(rest, weights.old) if rest else None
    made: list[Object] = [{"revisionName": latest, "latestRevision": True, "percent": percents[latest]}]
    for name in sorted(rest, key=lambda each: (each != previous, each)):
        made.append(
            {"revisionName": name, "percent": rest[name]} | ({"tag": "prev"} if name == previous else {})
        )
    return made


def shares(counts: Mapping[str, int]) -> dict[str, int]:
    """Whole percentages in proportion to the counts, 100 in sum; who loses most by rounding gains first."""
    total = sum(counts.values())
    given = {name: count * 100 // total for name, count in counts.items()}
    left = 100 - sum(given.values())
    for name in sorted(counts, key=lambda each: (-(counts[each] * 100 % total), each))[:left]:
        given[name] += 1
    return given


def _percents(weights: Weights) -> dict[str, int]:
    ready = {name: count for name, count in weights.ready.items() if count > 0}
    if not ready:
        return {}
    if weights.canary is not None and weights.old is not None:
        return _canary(weights.target, weights.old, weights.canary, ready)
    return shares(ready)


def _canary(target: str, old: str, percent: int, ready: Mapping[str, int]) -> dict[str, int]:
    """Both revisions keep their weight while both are ready; 0 pins the old one even when it is not."""
    if target not in ready:
        return {old: 100}
    if old not in ready and percent > 0:
        return {target: 100}
    return {target: percent, old: 100 - percent}


def _main(percents: Mapping[str, int], preferred: str | None) -> str:
    if preferred is not None and preferred in percents:
        return preferred
    return max(percents, key=lambda name: (percents[name], name))
