"""Images: an archive that containerd can import, and a pause program that runs."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import subprocess
import tarfile
import time
from pathlib import Path

from stoker.local import images


def test_the_archive_is_what_docker_save_would_write(tmp_path: Path) -> None:
    images.write_archive(tmp_path / "all.tar", images.all_images())
    with tarfile.open(tmp_path / "all.tar") as archive:
        members = {member.name: archive.extractfile(member) for member in archive.getmembers()}
        contents = {name: file.read() for name, file in members.items() if file}
    manifest = json.loads(contents["manifest.json"])
    tags = [tag for image in manifest for tag in image["RepoTags"]]
    assert {images.PAUSE, images.ENVOY, images.STOKER, *images.RUNTIMES} <= set(tags)
    assert len(set(tags)) == len(tags)
    for image in manifest:
        config = contents[image["Config"]]
        assert image["Config"] == f"{hashlib.sha256(config).hexdigest()}.json"
        digests = [f"sha256:{hashlib.sha256(contents[layer]).hexdigest()}" for layer in image["Layers"]]
        assert json.loads(config)["rootfs"]["diff_ids"] == digests


def test_the_same_images_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.tar", "two.tar"):
        images.write_archive(tmp_path / name, images.all_images())
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_pods_that_ask_for_no_root_get_a_user_with_a_name(tmp_path: Path) -> None:
    images.write_archive(tmp_path / "all.tar", images.all_images())
    with tarfile.open(tmp_path / "all.tar") as archive:
        layer_name = next(name for name in archive.getnames() if name.endswith("layer.tar"))
        file = archive.extractfile(layer_name)
        assert file is not None
        layer = file.read()
    with tarfile.open(fileobj=io.BytesIO(layer)) as content:
        passwd = content.extractfile("etc/passwd")
        assert passwd is not None
        assert f"stoker:x:{images.USER}:" in passwd.read().decode()
        assert content.getmember("tmp").mode == 0o1777
        assert content.getmember("lib64").linkname == "usr/lib64"
    users = {image.name: image.user for image in images.all_images()}
    assert users[images.STOKER] == users[images.ENVOY] == users[images.RUNTIMES[0]] == images.USER


def test_runtime_images_stay_offline_and_find_the_cache() -> None:
    for image in images.all_images():
        if image.name in images.RUNTIMES:
            assert image.environment["HF_HUB_OFFLINE"] == "1"
            assert image.environment["HF_HUB_CACHE"] == "/opt/huggingface/hub"
            assert image.entrypoint == ("python", "-m", "runtime")


def test_the_pause_program_sleeps_until_it_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(images.pause_program())
    program.chmod(0o755)
    with subprocess.Popen([program]) as process:
        time.sleep(0.2)
        still_there = process.poll() is None
        usage = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.kill()
    assert still_there
    assert int(usage[11]) + int(usage[12]) <= 2, "it waits in the kernel, it does not spin"
    ignored = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:")), 16)
    assert ignored >> (signal.SIGCHLD - 1) & 1, "orphans of a shared process namespace are reaped"
