"""Images that are nothing but a name, a user and an entry point: what they run is mounted by name.

One `docker save`-shaped archive holds all of them over one shared layer. Real images of these
names come from the Dockerfile; pod specs cannot tell the difference.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PAUSE = "stoker.dev/pause:1"
COREDNS = "stoker.dev/coredns:1"
ENVOY = "docker.io/envoyproxy/envoy:v1.40.0"
PROMETHEUS = "stoker.dev/prometheus:1"
STOKER = "stoker.dev/stoker:0.1.0"
FETCH = "stoker.dev/fetch:0.1.0"
RUNTIMES = ("stoker.dev/runtime:0.1.0", "stoker.dev/runtime:0.1.0-cpu", "stoker.dev/runtime:0.1.0-cuda")

USER = 65532
_PYTHON_ENVIRONMENT = {
    "PATH": "/opt/venv/bin:/usr/local/bin:/usr/bin:/bin",
    "PYTHONPATH": "/opt/stoker",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}
# The node has no way out, so the runtime must not try: models are in Stoker's own cache.
_RUNTIME_ENVIRONMENT = _PYTHON_ENVIRONMENT | {"HF_HUB_CACHE": "/opt/huggingface/hub", "HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True)
class Image:
    """One image: the name pods use, and what a container of it starts when they say nothing else."""

    name: str
    entrypoint: tuple[str, ...]
    user: int = USER
    environment: dict[str, str] = field(default_factory=dict)


def all_images() -> list[Image]:
    """Every image of a local cluster."""
    runtime = ("python", "-m", "runtime")
    return [
        Image(PAUSE, ("/pause",)),
        Image(COREDNS, ("/coredns",), user=0),
        Image(ENVOY, ("/opt/envoy",)),
        Image(PROMETHEUS, ("/opt/prometheus",)),
        Image(STOKER, (), environment=_PYTHON_ENVIRONMENT),
        Image(FETCH, (*runtime, "fetch"), environment=_RUNTIME_ENVIRONMENT),
        *(Image(name, runtime, environment=_RUNTIME_ENVIRONMENT) for name in RUNTIMES),
    ]


def write_archive(path: Path, images: Iterable[Image]) -> None:
    """Write the archive that `ctr images import` reads. The same images give the same bytes."""
    layer = _layer()
    digest = hashlib.sha256(layer).hexdigest()
    manifest = []
    with tarfile.open(path, "w") as archive:
        _add_file(archive, f"{digest}/layer.tar", layer)
        for image in images:
            config = json.dumps(_config(image, digest), sort_keys=True).encode()
            name = f"{hashlib.sha256(config).hexdigest()}.json"
            _add_file(archive, name, config)
            manifest.append({"Config": name, "RepoTags": [image.name], "Layers": [f"{digest}/layer.tar"]})
        _add_file(archive, "manifest.json", json.dumps(manifest).encode())


def _config(image: Image, layer_digest: str) -> dict[str, Any]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": f"{image.user}:{image.user}",
            "Entrypoint": list(image.entrypoint),
            "Env": [f"{name}={value}" for name, value in image.environment.items()],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        "history": [{"created_by": "stoker up"}],
    }


def _layer() -> bytes:
    """The one layer: mount points, a merged /usr, an account for the user, and /pause."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for folder in (
            "etc",
            "usr",
            "opt",
            "opt/stoker",
            "opt/venv",
            "opt/huggingface",
            "home",
            "var",
            "run",
        ):
            _add_folder(layer, folder, 0o755)
        _add_folder(layer, "tmp", 0o1777)
        for name in ("bin", "sbin", "lib", "lib64"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, f"usr/{name}"
            layer.addfile(link)
        # Libraries that ask for the current user's name (torch does) must find one.
        _add_file(
            layer,
            "etc/passwd",
            b"root:x:0:0:root:/root:/bin/sh\n"
            + f"stoker:x:{USER}:{USER}:stoker:/home/stoker:/bin/sh\n".encode(),
        )
        _add_file(layer, "etc/group", f"root:x:0:\nstoker:x:{USER}:\n".encode())
        _add_file(layer, "etc/nsswitch.conf", b"hosts: files dns\n")
        _add_file(layer, "pause", pause_program(), 0o755)
    return buffer.getvalue()


def pause_program() -> bytes:
    """A static x86-64 ELF program that sleeps for ever, the sandbox's process 1.

    So small that no compiler is needed. Where a pod's containers share its process namespace it
    inherits their orphans; ignoring SIGCHLD makes the kernel reap them.
    """
    base, headers = 0x400000, 64 + 56
    code = (
        b"\xb8\x0d\x00\x00\x00"  # mov eax, SYS_rt_sigaction
        b"\xbf\x11\x00\x00\x00"  # mov edi, SIGCHLD
        b"\x48\x8d\x35\x13\x00\x00\x00"  # lea rsi, [rip + 19]: the action below
        b"\x31\xd2"  # xor edx, edx
        b"\x41\xba\x08\x00\x00\x00"  # mov r10d, 8: bytes in a signal set
        b"\x0f\x05"  # syscall
        b"\xb8\x22\x00\x00\x00"  # again: mov eax, SYS_pause
        b"\x0f\x05"  # syscall
        b"\xeb\xf7"  # jmp again
    )
    ignore = struct.pack("<QQQQ", 1, 0, 0, 0)  # handler SIG_IGN, no flags, restorer or mask
    size = headers + len(code) + len(ignore)
    identity = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = identity + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, base + headers, 64, 0, 0, 64, 56, 1, 64, 0, 0
    )  # fmt: skip
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return header + segment + code + ignore


def _add_folder(archive: tarfile.TarFile, name: str, mode: int) -> None:
    folder = tarfile.TarInfo(name)
    folder.type, folder.mode = tarfile.DIRTYPE, mode
    archive.addfile(folder)


def _add_file(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    file = tarfile.TarInfo(name)
    file.size, file.mode = len(content), mode
    archive.addfile(file, io.BytesIO(content))
