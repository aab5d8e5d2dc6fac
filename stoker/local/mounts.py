"""Which files of the machine a container sees, chosen by its image's name, and the runc that does it.

containerd is told that its runc is a small wrapper. Before `create` the wrapper runs this file,
which appends read-only bind mounts to the container's `config.json`; runc makes the mount points
before it turns the root file system read-only. Pod specs stay those of production. A pause
container carries no image name and gets nothing.

Standard library only, and run as a file: 20 ms for each container.
"""

from __future__ import annotations

import fnmatch
import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_IMAGE_ANNOTATION = "io.kubernetes.cri.image-name"

Rules = list[dict[str, Any]]  # [{"image": GLOB, "mounts": [[SOURCE, DESTINATION], ...]}, ...]


def rules(
    *,
    code: Path,
    venv: Path,
    python: Path,
    hub_cache: Path,
    coredns: Path,
    envoy: Path,
    prometheus: Path,
    packages: Iterable[str] = ("stoker", "controller", "webhook", "gateway", "runtime"),
) -> Rules:
    """The mounts of each image. `python` is the installation that the virtual environment was made
    from; it keeps its path, whatever the permissions of the folders above it on the machine.
    `prometheus`, a folder with `prometheus` and `share`, need not be there before a pod wants it.
    """
    system = [[str(path), str(path)] for path in _system_folders()]
    interpreter = [] if python.is_relative_to("/usr") else [[str(python), str(python)]]
    programs = [[str(code / package), f"/opt/stoker/{package}"] for package in packages]
    ours = [*system, *interpreter, [str(venv), "/opt/venv"]]
    runtime = [
        *ours,
        [str(code / "runtime"), "/opt/stoker/runtime"],
        [str(hub_cache), "/opt/huggingface/hub"],
    ]
    return [
        {"image": "stoker.dev/stoker:*", "mounts": [*ours, *programs]},
        {"image": "stoker.dev/runtime:*", "mounts": runtime},
        {"image": "stoker.dev/fetch:*", "mounts": runtime},
        {"image": "stoker.dev/coredns:*", "mounts": [[str(coredns), "/coredns"]]},
        {"image": "docker.io/envoyproxy/envoy:*", "mounts": [*system, [str(envoy), "/opt/envoy"]]},
        {
            "image": "stoker.dev/prometheus:*",
            "mounts": [
                *([str(path), str(path)] for path in _library_folders()),
                [str(prometheus / "prometheus"), "/opt/prometheus"],
                [str(prometheus / "share"), "/usr/share"],
            ],
        },
    ]


def wrapper(python: str, runc: str, rules_file: Path, program: Path | None = None) -> str:
    """The shell script that containerd calls as runc."""
    patch = shlex.join([python, "-I", "-S", "-B", str(program or Path(__file__)), str(rules_file)])
    return (
        "#!/bin/sh\n"
        "# Puts the machine's files into containers by image name, then does what runc does.\n"
        f'case " $* " in *" create "*) {patch} "$@" || exit 1;; esac\n'
        f'exec {shlex.quote(runc)} "$@"\n'
    )


def patched(config: Mapping[str, Any], wanted: Rules) -> dict[str, Any]:
    """A container's runtime configuration with the mounts of its image appended.

    They come after the pod's own mounts; a destination that the pod mounts itself stays the pod's.
    """
    image = config.get("annotations", {}).get(_IMAGE_ANNOTATION, "")
    mounts = list(config.get("mounts", []))
    taken = {mount["destination"] for mount in mounts}
    for rule in wanted:
        if not image or not fnmatch.fnmatchcase(image, rule["image"]):
            continue
        for source, destination in rule["mounts"]:
            if destination not in taken:
                mounts.append(_bind(source, destination))
    return {**config, "mounts": mounts}


def _bind(source: str, destination: str) -> dict[str, Any]:
    options = ["rbind", "ro", "nosuid", "nodev"]
    return {"type": "bind", "source": source, "destination": destination, "options": options}


def _system_folders() -> list[Path]:
    """/usr, and the library folders where they are not links into it."""
    return [Path("/usr"), *(each for each in _library_folders() if not each.is_relative_to("/usr"))]


def _library_folders() -> list[Path]:
    """Where shared libraries are, links left out."""
    folders = (Path("/usr/lib"), Path("/usr/lib64"), Path("/lib"), Path("/lib64"))
    return [each for each in folders if each.is_dir() and not each.is_symlink()]


def _bundle(arguments: list[str]) -> Path:
    for number, argument in enumerate(arguments):
        if argument in ("--bundle", "-b"):
            return Path(arguments[number + 1])
        if argument.startswith("--bundle="):
            return Path(argument.partition("=")[2])
    return Path()


def main(rules_file: str, *arguments: str) -> None:
    """Patch the bundle that a `runc create` command line names."""
    path = _bundle(list(arguments)) / "config.json"
    config = json.loads(path.read_text())
    temporary = path.with_name(f"config.json.{os.getpid()}")
    temporary.write_text(json.dumps(patched(config, json.loads(Path(rules_file).read_text()))))
    temporary.replace(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
