"""A folder of this machine as a source: a model that the hub's cache holds already."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from runtime.storage.files import Digest, RemoteFile

_BLOCK = 4 << 20


class FolderSource:
    """The files below a folder, links followed."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name

    @property
    def name(self) -> str:
        """What the files are, for messages."""
        return self._name

    def look(self) -> list[RemoteFile]:
        """Every file below the folder."""
        found = [path for path in sorted(self._folder.rglob("*")) if path.is_file()]
        return [self._file(path) for path in found]

    def read(self, file: RemoteFile, start: int, end: int) -> Generator[bytes, None, None]:
        """See `Source.read`."""
        with (self._folder / file.path).open("rb", buffering=0) as opened:
            opened.seek(start)
            left = end - start
            while left > 0 and (block := opened.read(min(_BLOCK, left))):
                left -= len(block)
                yield block

    def digest(self, file: RemoteFile) -> Digest | None:
        """See `Source.digest`."""
        return file.digest

    def _file(self, path: Path) -> RemoteFile:
        stat = path.stat()
        return RemoteFile(
            path.relative_to(self._folder).as_posix(), stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}"
        )
