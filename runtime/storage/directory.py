"""Files fetched into a directory under their own names, with marks of what is whole beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from runtime.storage.disk import disk_failure, exclusive
from runtime.storage.files import WORK, RemoteFile
from runtime.storage.retry import Retrying
from runtime.storage.transfer import Order, Report, Source, Transfer


def fetch_into(
    target: Path, source: Source, files: Sequence[RemoteFile], report: Report, retrying: Retrying
) -> None:
    """Brings the files into `target`; those that an earlier run brought whole are left alone.

    Safe beside other processes that do the same. Raises Failure.
    """
    work = target / WORK
    with exclusive(work / "lock", retrying.on_wait):
        marks = {file: work / f"{_name(file)}.whole" for file in files}
        there = [file for file in files if _is_whole(target / file.path, marks[file], file)]
        missing = [file for file in files if file not in there]
        orders = [Order(file, target / file.path, work / f"{_name(file)}.partial") for file in missing]
        transfer = Transfer(source, report, retrying)
        try:
            _forget_others(work, {_name(file) for file in files})
            for file in missing:
                # First, so that no mark outlives the file it speaks of.
                marks[file].unlink(missing_ok=True)
            transfer.run(orders, present=sum(file.size for file in there))
            for file in missing:
                marks[file].touch()
            _open_to_all(target)
        except OSError as error:
            raise disk_failure(error, target) from error


def _forget_others(work: Path, names: set[str]) -> None:
    """Removes parts and marks of content that the source no longer has: nothing would ever end them."""
    for path in work.iterdir():
        if path.suffix in (".partial", ".progress", ".whole") and path.stem not in names:
            path.unlink()


def _name(file: RemoteFile) -> str:
    """A name for this content of this file."""
    return hashlib.sha256(f"{file.path}\0{file.tag}\0{file.size}".encode()).hexdigest()[:32]


def _is_whole(path: Path, mark: Path, file: RemoteFile) -> bool:
    try:
        return mark.exists() and path.stat().st_size == file.size
    except OSError:
        return False


def _open_to_all(target: Path) -> None:
    """Folders that containers of other users may enter. The target itself is a volume's: never ours."""
    for folder in (path for path in target.rglob("*") if path.is_dir()):
        folder.chmod(0o755)
