"""A file that is being fetched: pieces land at their places in any order, and a later process goes on.

Beside `NAME.partial` lies `NAME.progress`: how many bytes of each piece have been written, 8 bytes each, put
down after the bytes themselves. A process that dies at any moment has at worst fetched a few bytes twice.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

_HEAD = struct.Struct("<8sQQ")  # magic, size of the file, size of a piece
_COUNT = struct.Struct("<Q")
_MAGIC = b"stoker01"
_SMALLEST_PIECE = 64 << 20
_MOST_PIECES = 32


@dataclass(frozen=True)
class Piece:
    """Bytes `start` to `end` (excluded) of a file; those before `at` are there."""

    number: int
    start: int
    end: int
    at: int


class PartialFile:
    """The partial file and its progress, opened; a context manager. Pieces may be written from any thread."""

    def __init__(self, path: Path, size: int) -> None:
        """`path`: where the partial file lies; `size`: of the whole. Raises OSError."""
        self.path = path
        self.size = size
        self._marks = path.with_suffix(".progress")
        self._piece = max(_SMALLEST_PIECE, -(-size // _MOST_PIECES))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._progress = os.open(self._marks, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._data = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            os.close(self._progress)
            raise
        if not self._same():
            self.restart()

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._data)
        os.close(self._progress)

    def restart(self) -> None:
        """Forget what was written."""
        os.ftruncate(self._data, 0)
        os.ftruncate(self._progress, 0)
        os.pwrite(self._progress, self._head() + bytes(_COUNT.size * self._number()), 0)

    def pieces(self) -> list[Piece]:
        """All pieces, finished ones too."""
        starts = range(0, self.size, self._piece)
        return [
            Piece(number, start, min(start + self._piece, self.size), start + self._written(number))
            for number, start in enumerate(starts)
        ]

    def write(self, piece: Piece, at: int, data: bytes) -> None:
        """Put `data` at byte `at` of the file, inside the piece. Raises OSError: a full disk, ..."""
        view = memoryview(data)
        while view:
            done = os.pwrite(self._data, view, at)
            at, view = at + done, view[done:]
        place = _HEAD.size + piece.number * _COUNT.size
        os.pwrite(self._progress, _COUNT.pack(at - piece.start), place)

    def finish(self, target: Path) -> None:
        """Make the whole file appear under its name at once, readable by all: pods run as other users."""
        os.ftruncate(self._data, self.size)
        os.fchmod(self._data, 0o644)
        os.fsync(self._data)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path.replace(target)
        self._marks.unlink(missing_ok=True)

    def _head(self) -> bytes:
        return _HEAD.pack(_MAGIC, self.size, self._piece)

    def _number(self) -> int:
        return -(-self.size // self._piece)

    def _same(self) -> bool:
        """Whether the progress is of this size and these pieces, and the data reaches as far as it says."""
        wanted = _HEAD.size + _COUNT.size * self._number()
        if os.fstat(self._progress).st_size != wanted:
            return False
        if os.pread(self._progress, _HEAD.size, 0) != self._head():
            return False
        there = os.fstat(self._data).st_size
        return all(
            piece.at <= piece.end and (piece.at == piece.start or piece.at <= there)
            for piece in self.pieces()
        )

    def _written(self, number: int) -> int:
        return int(_COUNT.unpack(os.pread(self._progress, _COUNT.size, _HEAD.size + number * _COUNT.size))[0])
