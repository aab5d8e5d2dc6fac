"""Transfers against a source in memory that breaks as networks, servers and disks do."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.failures import Failure, Reason
from runtime.storage import disk, partial
from runtime.storage.directory import fetch_into
from runtime.storage.files import Choice, Digest, RemoteFile, check_paths, choose
from runtime.storage.http import from_start
from runtime.storage.partial import PartialFile
from runtime.storage.retry import Retrying, Transient
from runtime.storage.transfer import Order, Transfer

PIECE = 1000


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial, "_SMALLEST_PIECE", PIECE)


@dataclass
class Memory:
    """Files in memory. `faults`: what happens to the reads, in their order; None is no fault."""

    contents: dict[str, bytes]
    faults: list[Any] = field(default_factory=list)
    reads: list[tuple[str, int, int]] = field(default_factory=list)
    sent: int = 0
    name: str = "s3://bucket/model"

    def file(self, path: str, *, digest: bool = True, size: int | None = None) -> RemoteFile:
        data = self.contents[path]
        proof = Digest("sha256", hashlib.sha256(data).hexdigest()) if digest else None
        return RemoteFile(path, len(data) if size is None else size, f"tag-{path}", proof)

    def files(self) -> list[RemoteFile]:
        return [self.file(path) for path in self.contents]

    def digest(self, file: RemoteFile) -> Digest | None:
        return file.digest

    def read(self, file: RemoteFile, start: int, end: int) -> Generator[bytes, None, None]:
        self.reads.append((file.path, start, end))
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, Exception):
            raise fault
        data = self.contents[file.path][start:end]
        if isinstance(fault, int):
            data = data[:fault]
        elif fault == "flip":
            data = bytes([data[0] ^ 1]) + data[1:]
        elif fault == "more":
            data += b"what nobody asked for"
        for at in range(0, len(data), 100):
            self.sent += len(data[at : at + 100])
            yield data[at : at + 100]
        if isinstance(fault, int):
            raise Transient("the connection was cut")


def patient(**more: Any) -> Retrying:
    """Waits no time and remembers what it would have waited."""
    return Retrying(wait=lambda seconds: False, **more)


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def bring(source: Memory, folder: Path, retrying: Retrying | None = None) -> list[tuple[int, int]]:
    seen: list[tuple[int, int]] = []
    fetch_into(
        folder, source, source.files(), lambda done, total: seen.append((done, total)), retrying or patient()
    )
    return seen


def test_files_arrive_whole_under_their_names(tmp_path: Path) -> None:
    source = Memory({"config.json": b"{}", "a/b/model.safetensors": noise(4321), "empty.txt": b""})
    seen = bring(source, tmp_path)
    for path, data in source.contents.items():
        assert (tmp_path / path).read_bytes() == data
        assert (tmp_path / path).stat().st_mode & 0o444 == 0o444
    assert seen[0] == (0, 4323)
    assert seen[-1] == (4323, 4323)
    assert max(end - start for _, start, end in source.reads) == PIECE
    source.reads.clear()
    assert bring(source, tmp_path)[-1] == (4323, 4323)
    assert source.reads == []


def test_a_cut_connection_goes_on_where_it_ended(tmp_path: Path) -> None:
    source = Memory({"w": noise(900)}, faults=[300, 0, 150])
    bring(source, tmp_path)
    assert (tmp_path / "w").read_bytes() == source.contents["w"]
    assert source.reads == [("w", 0, 900), ("w", 300, 900), ("w", 300, 900), ("w", 450, 900)]
    assert source.sent == 900


def test_another_process_goes_on_where_this_one_ended(tmp_path: Path) -> None:
    source = Memory({"w": noise(5 * PIECE)}, faults=[None, None, 100, *[Transient("down")] * 50])
    with pytest.raises(Failure) as failure:
        bring(source, tmp_path)
    assert failure.value.reason is Reason.STORAGE_UNREACHABLE
    assert "w of s3://bucket/model stopped" in failure.value.message
    assert "did not go on in 7 attempts: down" in failure.value.message
    assert not (tmp_path / "w").exists()
    source.faults.clear()
    brought = source.sent  # the pieces come side by side: how far the others got when one gave up is luck
    assert 0 < brought < 5 * PIECE
    first = bring(source, tmp_path)[0]
    assert first == (brought, 5 * PIECE)
    assert (tmp_path / "w").read_bytes() == source.contents["w"]
    assert source.sent == 5 * PIECE


@given(
    size=st.integers(0, 5 * PIECE),
    lives=st.lists(st.lists(st.none() | st.integers(0, PIECE), max_size=12), max_size=4),
)
def test_whatever_breaks_the_file_is_right_and_nothing_is_fetched_twice(
    tmp_path_factory: pytest.TempPathFactory, size: int, lives: list[list[int | None]]
) -> None:
    folder = tmp_path_factory.mktemp("x")
    source = Memory({"w": noise(size)})
    for faults in lives:
        # A process of few attempts, which then dies.
        source.faults = [*faults, *[Transient("gone")] * 20]
        try:
            bring(source, folder, patient(attempts=2))
        except Failure:
            assert not (folder / "w").exists()
    source.faults = []
    bring(source, folder)
    assert (folder / "w").read_bytes() == source.contents["w"]
    assert source.sent == size


def test_a_process_killed_between_bytes_and_their_mark_fetches_a_few_again(tmp_path: Path) -> None:
    data = noise(2500)
    with PartialFile(tmp_path / "x.partial", 2500) as part:
        pieces = part.pieces()
        part.write(pieces[0], 0, data[:600])
        os.pwrite(part._data, data[600:700], 600)  # the bytes without the mark
    with PartialFile(tmp_path / "x.partial", 2500) as part:
        assert [piece.at for piece in part.pieces()] == [600, 1000, 2000]
    (tmp_path / "x.partial").write_bytes(b"")  # a mark without its bytes, after a crash of the machine
    with PartialFile(tmp_path / "x.partial", 2500) as part:
        assert [piece.at for piece in part.pieces()] == [0, 1000, 2000]
    with PartialFile(tmp_path / "x.partial", 2600) as part:
        part.write(part.pieces()[1], 1000, b"y" * 10)
    with PartialFile(tmp_path / "x.partial", 2500) as part:
        assert [piece.at for piece in part.pieces()] == [0, 1000, 2000], "of another size"


def test_damaged_bytes_are_fetched_again_once(tmp_path: Path) -> None:
    source = Memory({"w": noise(700)}, faults=["flip"])
    seen = bring(source, tmp_path)
    assert (tmp_path / "w").read_bytes() == source.contents["w"]
    assert seen[-1] == (700, 700)
    source = Memory({"w": noise(700)}, faults=["flip"] * 9)
    with pytest.raises(Failure) as failure:
        bring(source, tmp_path / "other")
    assert failure.value.reason is Reason.CHECKSUM_MISMATCH
    assert not (tmp_path / "other" / "w").exists()
    assert len(source.reads) == 2


def test_a_server_that_sends_more_than_asked_for_spoils_nothing(tmp_path: Path) -> None:
    source = Memory({"w": noise(2 * PIECE + 1)}, faults=["more"] * 3)
    seen = bring(source, tmp_path)
    assert (tmp_path / "w").read_bytes() == source.contents["w"]
    assert seen[-1] == (2 * PIECE + 1, 2 * PIECE + 1), "what nobody asked for is not counted"


@pytest.mark.parametrize(
    ("status", "told", "got"),
    [
        (206, "bytes 4-9/10", b"abcdef"),
        (206, "bytes 4-9/*", b"abcdef"),
        (200, None, b"ef"),
        (206, "bytes 0-5/10", None),
        (206, "bytes 4-9/11", None),
        (206, "nonsense", None),
        (206, None, None),
    ],
)
def test_an_answer_begins_where_it_was_asked_to(status: int, told: str | None, got: bytes | None) -> None:
    def ask() -> bytes:
        return b"".join(from_start([b"abc", b"def"], status, told, 4, 10))

    if got is None:
        with pytest.raises(Transient, match="asked for bytes from 4 of 10"):
            ask()
    else:
        assert ask() == got


def test_a_file_shorter_than_announced_ends_the_fetch(tmp_path: Path) -> None:
    source = Memory({"w": noise(700)})
    waited: list[float] = []
    retrying = Retrying(wait=lambda seconds: waited.append(seconds) or False, draw=lambda: 1.0)
    with pytest.raises(Failure) as failure:
        fetch_into(tmp_path, source, [source.file("w", size=900)], lambda done, total: None, retrying)
    assert failure.value.reason is Reason.STORAGE_UNREACHABLE
    assert "before byte 700 of 900" in failure.value.message
    assert waited == [1, 2, 4, 8, 16, 32], "bounded, each twice the one before"


def test_waits_are_drawn_and_follow_the_server() -> None:
    waited: list[float] = []
    drawn = iter([0.0, 0.5, 1.0])
    retrying = Retrying(wait=lambda seconds: waited.append(seconds) or False, draw=lambda: next(drawn))
    retrying.pause(1, Transient("x"))
    retrying.pause(1, Transient("x", after=20))
    retrying.pause(1, Transient("x", after=9999))
    assert waited == [0.5, 20, 60]


def test_a_refusal_ends_all_files_at_once(tmp_path: Path) -> None:
    source = Memory({f"{number}": noise(3 * PIECE) for number in range(20)})
    source.faults = [Failure(Reason.ACCESS_DENIED, "no")]
    with pytest.raises(Failure) as failure:
        bring(source, tmp_path)
    assert failure.value.reason is Reason.ACCESS_DENIED
    assert len(source.reads) < 60


def full_after(amount: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that holds so many bytes of data."""
    real, written = os.pwrite, 0

    def pwrite(handle: int, data: Any, at: int) -> int:
        nonlocal written
        if len(data) > 8 and bytes(data[:8]) != b"stoker01":
            if written + len(data) > amount:
                raise OSError(errno.ENOSPC, "No space left on device")
            written += len(data)
        return real(handle, data, at)

    monkeypatch.setattr(partial.os, "pwrite", pwrite)


def test_a_disk_that_fills_up_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Memory({"w": noise(900)})
    with monkeypatch.context() as patch:
        full_after(400, patch)
        with pytest.raises(Failure) as failure:
            bring(source, tmp_path)
    assert failure.value.reason is Reason.DISK_FULL
    assert str(tmp_path) in failure.value.message
    assert bring(source, tmp_path)[0] == (400, 900)
    assert (tmp_path / "w").read_bytes() == source.contents["w"]


def test_a_disk_too_small_is_said_before_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Memory({"w": noise(900)})
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda place: SimpleNamespace(free=400_000))
    with pytest.raises(Failure) as failure:
        bring(source, tmp_path)
    assert failure.value.reason is Reason.DISK_FULL
    assert "has 0 MB free" in failure.value.message
    assert source.reads == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    source = Memory({"w": b"1"})
    with pytest.raises(Failure) as failure:
        bring(source, tmp_path / "file")
    assert failure.value.reason is Reason.STORAGE_NOT_WRITABLE
    assert "cannot be written" in failure.value.message


def test_changed_content_is_fetched_anew(tmp_path: Path) -> None:
    source = Memory({"w": b"old"})
    bring(source, tmp_path)
    changed = Memory({"w": b"new"})
    file = RemoteFile("w", 3, "other tag")
    fetch_into(tmp_path, changed, [file], lambda done, total: None, patient())
    assert (tmp_path / "w").read_bytes() == b"new"


def test_parts_of_content_that_is_gone_take_no_room(tmp_path: Path) -> None:
    source = Memory({"w": noise(900)}, faults=[300, *[Transient("down")] * 20])
    with pytest.raises(Failure):
        bring(source, tmp_path)
    parts = {path.name for path in (tmp_path / ".stoker-fetch").glob("*.partial")}
    assert len(parts) == 1
    changed = Memory({"w": b"new"}, faults=[1, *[Transient("down")] * 20])
    with pytest.raises(Failure):
        fetch_into(tmp_path, changed, [RemoteFile("w", 3, "other")], lambda done, total: None, patient())
    left = {path.name for path in (tmp_path / ".stoker-fetch").glob("*.partial")}
    assert len(left) == 1
    assert not left & parts


def test_more_files_than_may_be_open(tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    source = Memory({f"{number}.json": b"x" * (number + 1) for number in range(200)})
    in_use = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 60, hard))
    try:
        bring(source, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(list(tmp_path.glob("*.json"))) == 200


def test_no_partial_files_are_left_when_all_is_there(tmp_path: Path) -> None:
    source = Memory({"w": noise(3000)})
    order = Order(source.file("w"), tmp_path / "blobs" / "w", tmp_path / "blobs" / "w.partial")
    Transfer(source, lambda done, total: None, patient()).run([order])
    assert [path.name for path in (tmp_path / "blobs").iterdir()] == ["w"]


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a/.", "", "a\\..\\b", "a\0b", "x" * 256],
)
def test_names_that_are_no_paths_are_refused(path: str) -> None:
    with pytest.raises(Failure) as failure:
        choose(
            [RemoteFile("config.json", 1, "t"), RemoteFile(path, 1, "t")], Choice(everything=True), "s3://b/m"
        )
    assert failure.value.reason is Reason.MODEL_INVALID
    assert "no safe path" in failure.value.message


def test_a_file_cannot_also_be_a_folder() -> None:
    with pytest.raises(Failure, match="both a file 'a' and files below it"):
        check_paths(["a", "a/b"], "s3://b/m")


def chosen(choice: Choice, *paths: str) -> list[str]:
    return sorted(
        file.path for file in choose([RemoteFile(path, 1, "t") for path in paths], choice, "s3://b/m")
    )


def test_what_is_fetched() -> None:
    serving, everything = Choice(), Choice(everything=True)
    files = ["config.json", "model.safetensors", "pytorch_model.bin", "run.py", "README.md", ".gitattributes"]
    assert chosen(serving, *files) == ["config.json", "model.safetensors"]
    assert chosen(Choice(code=True), *files) == ["config.json", "model.safetensors", "run.py"]
    assert chosen(everything, *files) == ["README.md", "config.json", "model.safetensors", "run.py"]
    assert chosen(Choice(pickle=True), *files) == ["config.json", "model.safetensors"]
    assert "pytorch_model.bin" in chosen(Choice(everything=True, pickle=True), *files)
    assert chosen(serving, "config.json", "m.safetensors", "original/consolidated.00.pth") == [
        "config.json",
        "m.safetensors",
    ]
    assert chosen(everything, "model.onnx", "training.pt") == ["model.onnx"]


@pytest.mark.parametrize("choice", [Choice(), Choice(everything=True)])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl", "model.joblib", "m.ckpt"])
def test_pickles_alone_are_refused_unless_allowed(choice: Choice, name: str) -> None:
    with pytest.raises(Failure) as failure:
        chosen(choice, "config.json", name)
    assert failure.value.reason is Reason.PICKLE_REFUSED
    assert name in failure.value.message
    assert "--allow_pickle" in failure.value.message
    allowed = Choice(everything=choice.everything, pickle=True)
    assert chosen(allowed, "config.json", name) == sorted(["config.json", name])
