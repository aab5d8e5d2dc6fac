"""The controller's small parts: memory of writes, the story told by events, flags."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from controller import story
from controller.options import parse_options
from controller.recent_writes import KEPT_SECONDS, RecentWrites
from stoker.kube.resource import DEPLOYMENTS, Key

OWNER = Key("default", "llm")


def obj(version: int, uid: str = "1", name: str = "a") -> dict[str, Any]:
    return {"metadata": {"namespace": "default", "name": name, "uid": uid, "resourceVersion": str(version)}}


class TestRecentWrites:
    async def test_stand_in_until_the_cache_has_caught_up(self) -> None:
        recent = RecentWrites()
        recent.note(DEPLOYMENTS, OWNER, obj(10))
        assert recent.merge(DEPLOYMENTS, OWNER, []) == [obj(10)], "not in the cache yet"
        assert recent.merge(DEPLOYMENTS, OWNER, [obj(9)]) == [obj(10)], "the cache is behind: 9 < 10"
        assert recent.merge(DEPLOYMENTS, OWNER, [obj(11)]) == [obj(11)]
        assert recent.merge(DEPLOYMENTS, OWNER, [obj(9)]) == [obj(9)], "forgotten once it was seen"

    async def test_are_of_one_kind_and_one_owner(self) -> None:
        recent = RecentWrites()
        recent.note(DEPLOYMENTS, OWNER, obj(10))
        assert recent.merge(DEPLOYMENTS, Key("default", "other"), []) == []
        recent.forget(OWNER)
        assert recent.merge(DEPLOYMENTS, OWNER, []) == []

    async def test_give_way_to_another_object_of_the_name(self) -> None:
        recent = RecentWrites()
        recent.note(DEPLOYMENTS, OWNER, obj(10, uid="1"))
        assert recent.merge(DEPLOYMENTS, OWNER, [obj(5, uid="2")]) == [obj(5, uid="2")]

    async def test_hide_what_was_deleted(self) -> None:
        recent = RecentWrites()
        recent.note_deleted(DEPLOYMENTS, OWNER, obj(10))
        assert recent.merge(DEPLOYMENTS, OWNER, [obj(10)]) == []
        assert recent.merge(DEPLOYMENTS, OWNER, [obj(3, uid="2")]) == [obj(3, uid="2")]

    async def test_an_object_whose_end_the_cache_saw_is_not_made_up(self) -> None:
        recent = RecentWrites()
        recent.note(DEPLOYMENTS, OWNER, obj(10))
        recent.seen(DEPLOYMENTS, OWNER, obj(10))
        assert recent.merge(DEPLOYMENTS, OWNER, []) == []

    @pytest.mark.looptime
    async def test_are_not_believed_for_ever(self) -> None:
        import asyncio

        recent = RecentWrites()
        recent.note(DEPLOYMENTS, OWNER, obj(10))
        await asyncio.sleep(KEPT_SECONDS + 1)
        assert recent.merge(DEPLOYMENTS, OWNER, []) == []


def status(ready: str, reason: str, *table: tuple[str, int]) -> dict[str, Any]:
    condition = {"type": "Ready", "status": ready, "reason": reason, "message": f"says {reason}"}
    traffic = [{"revisionName": name, "percent": percent} for name, percent in table]
    return {"conditions": [condition], "components": {"predictor": {"traffic": traffic}}}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, status("Unknown", "Creating"), []),
        (status("Unknown", "Creating"), status("Unknown", "Loading"), [(False, "Loading")]),
        (status("Unknown", "Loading"), status("Unknown", "Loading"), []),
        (status("Unknown", "Loading"), status("False", "OOMKilled"), [(True, "OOMKilled")]),
        (status("False", "OOMKilled"), status("False", "OOMKilled"), []),
        (status("False", "OOMKilled"), status("True", "Ready", ("r1", 100)),
         [(False, "TrafficMoved"), (False, "Ready")]),
        (status("True", "Ready", ("r1", 100)), status("True", "Ready", ("r2", 100)),
         [(False, "TrafficMoved")]),
    ],
)  # fmt: skip
def test_events_follow_the_difference_of_two_statuses(
    before: dict[str, Any], after: dict[str, Any], told: list[tuple[bool, str]]
) -> None:
    assert [(note.warning, note.reason) for note in story.notes(before, after)] == told


def test_sigterm_is_heard_before_the_long_imports() -> None:
    """Process 1 of a container ignores it else, and the pod waits for its whole grace period."""
    watch = """
import signal, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "controller.program":
            signal.raise_signal(signal.SIGTERM)
sys.meta_path.insert(0, Watch())
import controller.__main__
"""
    done = subprocess.run([sys.executable, "-c", watch], timeout=30, check=False)
    assert done.returncode == 128 + signal.SIGTERM, "ended by its own hand, not by the kernel's (-15)"


class TestOptions:
    def test_defaults(self) -> None:
        options = parse_options([])
        assert (options.workers, options.state_poll, options.leader_elect) == (4, 2.0, False)
        assert options.settings.domain == "example.com"

    def test_the_settings_file_and_the_flag_that_wins_over_it(self, tmp_path: Path) -> None:
        file = tmp_path / "settings.yaml"
        file.write_text("domain: a.example\nhand_over_after: 5\n")
        assert parse_options(["--settings-file", str(file)]).settings.domain == "a.example"
        options = parse_options(["--settings-file", str(file), "--domain", "b.example"])
        assert (options.settings.domain, options.settings.hand_over_after) == ("b.example", 5)
        file.write_text("")
        assert parse_options(["--settings-file", str(file)]).settings.domain == "example.com"

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--workers", "0"], "whole number"),
            (["--state-poll", "never"], "seconds"),
            (["--settings-file", "/nowhere"], "/nowhere"),
            (["--work", "2"], "unrecognized"),
        ],
    )
    def test_mistakes_end_the_program_with_words(
        self, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as end:
            parse_options(arguments)
        assert end.value.code == 2
        assert words in capsys.readouterr().err

    def test_a_mistyped_setting(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "settings.yaml"
        file.write_text("domian: x\n")
        with pytest.raises(SystemExit):
            parse_options(["--settings-file", str(file)])
        assert "domain" in capsys.readouterr().err
