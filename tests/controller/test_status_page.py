"""docs/status.md names every reason that there is, and none that there is not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from controller.target import INVALID
from runtime.failures import Reason
from stoker.serving.rendering.selection import NoRuntimeReason
from stoker.serving.status import reasons

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "status.md"
SOURCES = [
    *sorted(set((ROOT / "stoker" / "serving" / "status").glob("*.py")) - {Path(reasons.__file__)}),
    *(ROOT / "controller" / f"{name}.py" for name in ("reconciler", "target", "observation", "story")),
]
_WORD = re.compile(r"[A-Z][a-z]+(?:[A-Z][A-Za-z]*)?|OOMKilled")
# Words of this shape in the code that are no reason of a condition or an event.
OTHER_WORDS = frozenset(
    {
        # conditions, of ours and of others, and their statuses
        "IngressReady", "LatestDeploymentReady", "PredictorReady", "Reconciling", "Stalled", "True", "False",
        "Unknown", "PodReadyToStartContainers", "PodScheduled", "Progressing", "ReplicaFailure",
        # modelStatus
        "BlockedByFailedLoad", "FailedToLoad", "InProgress", "InvalidSpec", "Loaded", "Pending", "UpToDate",
        "RuntimeUnhealthy", "Standard",
        # what kubelets say, and is told in our words
        "ContainerCannotRun", "ErrImageNeverPull", "ErrImagePull", "FailedAttachVolume", "FailedMapVolume",
        "ImageInspectError", "ImagePullBackOff", "Killing", "PreCreateHookError", "Readiness",
        "ReadinessProbeFailed", "RegistryUnavailable", "RunContainerError", "Unhealthy",
        # phases of pods and of rollouts, kinds, the actions of events
        "Failed", "Succeeded", "HandingOver", "Conflict", "ControllerRevision", "Situation", "SpecProblem",
        "Load", "Measure", "Seconds", "Reconcile", "Render", "Replace", "Route", "Serve",
        # why a backend was chosen
        "Default", "Requested",
    }
)  # fmt: skip


def in_code() -> set[str]:
    found = {word for source in SOURCES for word in _words(ast.parse(source.read_text()))}
    return (found - OTHER_WORDS) | {reason.value for reason in Reason} | set(get_args(NoRuntimeReason))


def _words(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _WORD.fullmatch(node.value):
            yield node.value


def on_page() -> list[str]:
    """First column of the tables of reasons and events."""
    _, _, reasons = PAGE.read_text().partition("## Reasons")
    return re.findall(r"^\| `([A-Za-z]+)` \|", reasons, re.MULTILINE)


def test_every_reason_is_on_the_page_and_the_reverse() -> None:
    page, code = on_page(), in_code()
    assert code - set(page) == set(), "say on docs/status.md what they mean and what to do"
    assert set(page) - code == set(), "nothing in the code says these any more"
    assert len(page) == len(set(page))


def test_what_counts_by_reason_knows_all_of_them() -> None:
    page = PAGE.read_text().partition("## Reasons")[2].partition("\n## Events")[0]
    assert set(re.findall(r"^\| `([A-Za-z]+)` \|", page, re.MULTILINE)) == reasons.REASONS
    assert reasons.REASONS.issuperset(reasons.SPEC_REASONS)
    assert {*get_args(NoRuntimeReason), INVALID} == set(reasons.SPEC_REASONS)
    assert reasons.known("OOMKilled") == "OOMKilled"
    assert reasons.known("Whatever_a_program:says") == reasons.OTHER


def test_words_that_are_no_reasons_are_still_in_the_code() -> None:
    found = {word for source in SOURCES for word in _words(ast.parse(source.read_text()))}
    assert OTHER_WORDS - found == set()
