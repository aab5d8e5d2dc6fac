"""The runc wrapper: which files of the machine which container gets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stoker.local import mounts


def rules(tmp_path: Path, python: str = "/home/someone/python") -> mounts.Rules:
    return mounts.rules(
        code=tmp_path / "checkout",
        venv=tmp_path / "checkout/.venv",
        python=Path(python),
        hub_cache=tmp_path / "hub",
        coredns=tmp_path / "bin/coredns",
        envoy=tmp_path / "bin/envoy",
        prometheus=tmp_path / "prometheus",
    )


def config(image: str | None, *mounted: str) -> dict[str, Any]:
    annotations = {"io.kubernetes.cri.image-name": image} if image else {}
    return {"annotations": annotations, "mounts": [{"destination": each, "type": "pod"} for each in mounted]}


def destinations(patched: dict[str, Any]) -> dict[str, str]:
    return {mount["destination"]: mount.get("source", mount["type"]) for mount in patched["mounts"]}


def test_the_stoker_image_gets_code_interpreter_and_environment(tmp_path: Path) -> None:
    found = destinations(mounts.patched(config("stoker.dev/stoker:0.1.0"), rules(tmp_path)))
    assert found["/opt/venv"] == str(tmp_path / "checkout/.venv")
    assert found["/home/someone/python"] == "/home/someone/python"
    assert found["/opt/stoker/controller"] == str(tmp_path / "checkout/controller")
    assert "/usr" in found
    assert "/opt/huggingface/hub" not in found


@pytest.mark.parametrize("image", ["stoker.dev/runtime:0.1.0-cpu", "stoker.dev/fetch:0.1.0"])
def test_the_runtime_image_gets_the_cache_and_none_of_stokers_other_code(tmp_path: Path, image: str) -> None:
    found = destinations(mounts.patched(config(image), rules(tmp_path)))
    assert found["/opt/huggingface/hub"] == str(tmp_path / "hub")
    assert [name for name in found if name.startswith("/opt/stoker/")] == ["/opt/stoker/runtime"]


def test_everything_is_read_only(tmp_path: Path) -> None:
    patched = mounts.patched(config("stoker.dev/runtime:0.1.0"), rules(tmp_path))
    assert all({"ro", "nosuid", "nodev"} <= set(mount["options"]) for mount in patched["mounts"])


@pytest.mark.parametrize(
    "image", [None, "docker.io/library/busybox:1", "stoker.dev/runtimes:1", "x/stoker.dev/stoker:1"]
)
def test_others_are_left_as_they_are(tmp_path: Path, image: str | None) -> None:
    before = config(image, "/etc/hosts")
    assert mounts.patched(before, rules(tmp_path)) == before


def test_what_the_pod_mounts_itself_stays_the_pods(tmp_path: Path) -> None:
    found = destinations(
        mounts.patched(config("stoker.dev/runtime:0.1.0", "/opt/huggingface/hub"), rules(tmp_path))
    )
    assert found["/opt/huggingface/hub"] == "pod"


def test_a_python_of_the_system_needs_no_mount_of_its_own(tmp_path: Path) -> None:
    found = destinations(mounts.patched(config("stoker.dev/stoker:0.1.0"), rules(tmp_path, python="/usr")))
    assert list(found).count("/usr") == 1


@pytest.mark.parametrize("flags", [["--bundle", "BUNDLE"], ["--bundle=BUNDLE"], ["-b", "BUNDLE"]])
def test_the_wrapper_patches_on_create_and_then_runs_runc(tmp_path: Path, flags: list[str]) -> None:
    bundle, runc, rules_file = tmp_path / "bundle", tmp_path / "real $runc", tmp_path / "the rules.json"
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps(config("stoker.dev/stoker:0.1.0")))
    rules_file.write_text(json.dumps(rules(tmp_path)))
    runc.write_text('#!/bin/sh\necho "$@"\n')
    runc.chmod(0o755)
    script = tmp_path / "runc"
    script.write_text(mounts.wrapper(sys.executable, str(runc), rules_file))
    script.chmod(0o755)
    arguments = ["--root", "/r", "create", *(flag.replace("BUNDLE", str(bundle)) for flag in flags), "id"]
    for command in (["--root", "/r", "state", "id"], arguments):
        said = subprocess.run([script, *command], capture_output=True, text=True, check=True)
        assert said.stdout.split() == command
    assert "/opt/venv" in destinations(json.loads((bundle / "config.json").read_text()))


def test_a_container_that_cannot_be_patched_is_not_started(tmp_path: Path) -> None:
    script = tmp_path / "runc"
    script.write_text(mounts.wrapper(sys.executable, "/bin/echo", tmp_path / "missing.json"))
    done = subprocess.run(
        ["sh", script, "create", "--bundle", tmp_path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
