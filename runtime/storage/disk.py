"""What disks say and hold: failures in words, space, hashes, locks between processes."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.failures import Failure, Reason

_HASH_BYTES = 4 << 20
_SPARE_BYTES = 1 << 20  # left free beside the files


def disk_failure(error: OSError, place: Path) -> Failure:
    """What a file system said, as a Failure."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure(
            Reason.DISK_FULL,
            f"The disk of {place} is full. What was fetched is kept: with a larger volume it goes on "
            f"from there.",
        )
    return Failure(
        Reason.STORAGE_NOT_WRITABLE,
        f"{error.filename or place} cannot be written: {error.strerror or error}. Mount a volume there that "
        f"the container's user may write.",
    )


def require_space(place: Path, needed: int) -> None:
    """Says before the first byte what would otherwise be found out after hours. Raises Failure."""
    free = shutil.disk_usage(place).free
    if needed and free < needed + _SPARE_BYTES:
        raise Failure(
            Reason.DISK_FULL,
            f"The disk of {place} has {free / 1e6:.0f} MB free and {needed / 1e6:.0f} MB are still to be "
            f"fetched. Give the pod a larger volume.",
        )


def hash_of(path: Path, size: int, kind: str) -> str:
    """The hex digest of a file: sha256, md5, or git (sha1 of the git blob that it would be)."""
    made = hashlib.new("sha1" if kind == "git" else kind, usedforsecurity=kind == "sha256")
    if kind == "git":
        made.update(f"blob {size}\0".encode())
    with path.open("rb", buffering=0) as file:
        while block := file.read(_HASH_BYTES):
            made.update(block)
    return made.hexdigest()


@contextmanager
def exclusive(lock: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """One process at a time; the lock goes with the process, however it ends. Raises Failure.

    `waiting` is called where another process holds it.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = lock.open("w")
    except OSError as error:
        raise disk_failure(error, lock.parent) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
