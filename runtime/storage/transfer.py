"""Bringing files from a source to their places: in pieces, several at once, resumed, retried, verified."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from runtime.failures import Failure, Reason
from runtime.storage.disk import disk_failure, hash_of, require_space
from runtime.storage.files import Digest, RemoteFile
from runtime.storage.partial import PartialFile, Piece
from runtime.storage.retry import Cancelled, Retrying, Transient

Report = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) as files arrive, from any thread."""

_AT_ONCE = 8
_ROUNDS = 2  # fetches of a file whose content did not match its hash


class Source(Protocol):
    """Where files come from."""

    @property
    def name(self) -> str:
        """For messages: s3://bucket/prefix."""

    def read(self, file: RemoteFile, start: int, end: int) -> Generator[bytes, None, None]:
        """The bytes from `start` to `end` (excluded). May end early; the caller asks for the rest.

        Raises Transient where trying again may help, Failure where not.
        """

    def digest(self, file: RemoteFile) -> Digest | None:
        """What the content must hash to, asked once all of it is there; None where that is not known."""


@dataclass(frozen=True)
class Order:
    """One file, where it goes, and where its part lies until it is whole. On one file system."""

    file: RemoteFile
    target: Path
    partial: Path


class Transfer:
    """Fetches orders. One use."""

    def __init__(self, source: Source, report: Report, retrying: Retrying) -> None:
        self.source = source
        self.retrying = retrying
        self._report = report
        self._lock = threading.Lock()
        self._done = self._total = 0

    def run(self, orders: Sequence[Order], *, present: int = 0) -> None:
        """Brings every file. `present`: bytes of other files that are there already, for the report.

        Raises Failure; what was fetched until then stays, and the next run goes on from there.
        """
        self._total = present + sum(order.file.size for order in orders)
        self._done = present
        pieces = [self._begun(order) for order in orders]
        if orders:
            require_space(orders[0].partial.parent, self._total - self._done)
        self._report(self._done, self._total)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch") as pool:
            files = [_Filling(self, pool, order) for order in orders]
            try:
                for filling, missing in zip(files, pieces, strict=True):
                    filling.start(missing)
                wait([filling.outcome for filling in files], return_when=FIRST_EXCEPTION)
            finally:
                if not all(filling.arrived for filling in files):
                    self.retrying.cancelled.set()  # nothing more is begun, so that the pool ends
        for filling in files:
            filling.close()
        problems = [error for filling in files if (error := filling.outcome.exception()) is not None]
        # What was cancelled was cancelled because of another.
        for error in sorted(problems, key=lambda each: isinstance(each, Cancelled)):
            raise error

    def _begun(self, order: Order) -> list[Piece]:
        """The pieces of a file that are missing; counts those that are not."""
        try:
            with PartialFile(order.partial, order.file.size) as part:
                pieces = part.pieces()
        except OSError as error:
            raise disk_failure(error, order.partial.parent) from error
        self._done += sum(piece.at - piece.start for piece in pieces)
        return [piece for piece in pieces if piece.at < piece.end]

    def advance(self, amount: int) -> None:
        """Counts bytes for the report."""
        with self._lock:
            self._done += amount
            self._report(self._done, self._total)

    def bring(self, order: Order, part: PartialFile, piece: Piece) -> None:
        """One piece, to its end, however many connections it takes. Raises Failure, Cancelled."""
        failed = 0
        while piece.at < piece.end:
            if self.retrying.cancelled.is_set():
                raise Cancelled
            reached, problem = self._stream(order, part, piece)
            failed = 0 if reached > piece.at else failed
            piece = replace(piece, at=reached)
            if problem is not None:
                failed += 1
                try:
                    self.retrying.pause(failed, problem)
                except Transient:
                    raise self._gave_up(order, piece.at, problem) from problem

    def _stream(self, order: Order, part: PartialFile, piece: Piece) -> tuple[int, Transient | None]:
        """As much as one connection gives: where it ended, and what ended it."""
        at = piece.at
        try:
            with closing(self.source.read(order.file, at, piece.end)) as chunks:
                for chunk in chunks:
                    taken = chunk[: piece.end - at]  # a server may send more than it was asked for
                    _write(order, part, piece, at, taken)
                    at += len(taken)
                    self.advance(len(taken))
                    if self.retrying.cancelled.is_set():
                        raise Cancelled
                    if at >= piece.end:
                        break
        except Transient as problem:
            return at, problem
        if at == piece.at:
            return at, Transient(f"it sent nothing from byte {at} on")
        return at, None

    def _gave_up(self, order: Order, at: int, problem: Transient) -> Failure:
        return Failure(
            Reason.STORAGE_UNREACHABLE,
            f"{order.file.path} of {self.source.name} stopped before byte {at} of {order.file.size} and did "
            f"not go on in {self.retrying.attempts} attempts: {problem.message}",
        )


class _Filling:
    """One file on its way: its pieces in the pool, then its hash, then its name."""

    def __init__(self, transfer: Transfer, pool: ThreadPoolExecutor, order: Order) -> None:
        self._transfer, self._pool, self._order = transfer, pool, order
        self._part: PartialFile | None = None
        self._left = 0
        self._round = 1
        self._lock = threading.Lock()
        self.outcome: Future[None] = Future()

    @property
    def arrived(self) -> bool:
        """Whether the file is whole and in its place."""
        return self.outcome.done() and self.outcome.exception() is None

    def start(self, missing: Sequence[Piece]) -> None:
        """Puts the pieces that are missing into the pool."""
        self._left = len(missing)
        if not missing:
            self._pool.submit(self._settle, self._end)
        for piece in missing:
            self._pool.submit(self._settle, self._one, piece)

    def close(self) -> None:
        """Closes the partial file; what is in it stays."""
        if self._part is not None:
            self._part.__exit__()
            self._part = None

    def _one(self, piece: Piece) -> None:
        self._transfer.bring(self._order, self._opened(), piece)
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._end()

    def _end(self) -> None:
        order, part = self._order, self._opened()
        digest = self._transfer.source.digest(order.file)
        if digest is not None and hash_of(part.path, order.file.size, digest.kind) != digest.value.lower():
            part.restart()
            if self._round >= _ROUNDS:
                raise self._mismatch()
            self._round += 1
            self._transfer.advance(-order.file.size)
            self.start(part.pieces())
            return
        try:
            part.finish(order.target)
        except OSError as error:
            raise disk_failure(error, order.target.parent) from error
        self.close()
        self.outcome.set_result(None)

    def _opened(self) -> PartialFile:
        # Opened by the first piece: a model may have more files than a process may have open.
        with self._lock:
            if self._part is None:
                self._part = PartialFile(self._order.partial, self._order.file.size)
            return self._part

    def _settle(self, work: Callable[..., None], *arguments: Piece) -> None:
        try:
            work(*arguments)
        except BaseException as error:
            with self._lock:
                if not self.outcome.done():
                    self.outcome.set_exception(error)

    def _mismatch(self) -> Failure:
        return Failure(
            Reason.CHECKSUM_MISMATCH,
            f"{self._order.file.path} of {self._transfer.source.name} does not have the checksum that was "
            f"announced for it, fetched {_ROUNDS} times. Something on the way changes it, or the source is "
            f"damaged.",
        )


def _write(order: Order, part: PartialFile, piece: Piece, at: int, data: bytes) -> None:
    try:
        part.write(piece, at, data)
    except OSError as error:
        raise disk_failure(error, order.partial.parent) from error
