"""Fetching from a hub that breaks: into the cache, as the runtime does, and into a directory, as an init
container does.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from runtime import state as runtime_state
from runtime.failures import Failure, Reason
from runtime.hub import cache as hub_cache
from runtime.storage import command
from runtime.storage.resolve import Wanted, check_model, resolve
from runtime.storage.retry import Retrying
from tests.ports import free_port
from tests.runtime.hub_server import COMMIT, BreakingHub, breaking_hub

_ROOT = Path(__file__).parents[2]
WEIGHTS = random.Random(1).randbytes(3_000_000)
FILES = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "model.safetensors": WEIGHTS,
    "README.md": b"about",
    "optimizer.pt": b"pickled",
}


def environ(hub: BreakingHub, home: Path, **more: str) -> dict[str, str]:
    base = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(_ROOT), "HF_ENDPOINT": hub.url}
    return base | more


async def resolved(hub: BreakingHub, home: Path, **wanted: Any) -> tuple[Path, list[tuple[int, int]]]:
    seen: list[tuple[int, int]] = []
    retrying = Retrying(wait=lambda seconds: False)
    path = await asyncio.to_thread(
        resolve,
        Wanted(wanted.pop("model_id", ""), **wanted),
        lambda done, total: seen.append((done, total)),
        retrying,
        environ(hub, home),
    )
    return path, seen


@pytest.fixture(autouse=True)
def _hub_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("faults", "asked"),
    [
        (["cut"], [None, "bytes=1500000-2999999"]),
        (["lies"], [None]),
        (["503", "429"], [None, None, None]),
        (["cut", "no ranges"], [None, "bytes=1500000-2999999"]),
        (["cut", "cut"], [None, "bytes=1500000-2999999", "bytes=2250000-2999999"]),
    ],
    ids=["cut", "content-length lies", "busy", "a proxy without ranges", "cut twice"],
)
async def test_a_hub_that_breaks_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: list[str], asked: list[str | None]
) -> None:
    async with breaking_hub(FILES, *faults) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        path, seen = await resolved(hub, tmp_path, uri="hf://org/model")
        assert (path / "model.safetensors").read_bytes() == WEIGHTS
        assert [each for name, each in hub.ranges if name == "model.safetensors"] == asked
        assert path.name == COMMIT
        assert seen[-1] == (3_000_004, 3_000_004)
        assert sorted(each.name for each in path.iterdir()) == [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
        ]
        # As the hub's own library lays it out, so that engines find it offline.
        cache = tmp_path / ".cache" / "stoker" / "huggingface" / "hub"
        assert hub_cache.find(cache, "org/model", None) == path
        assert (path / "config.json").is_symlink()


async def test_a_file_that_the_index_names_and_the_hub_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    files = {
        "config.json": b"{}",
        "model.safetensors.index.json": json.dumps(index).encode(),
        "model-1.safetensors": b"1",
    }
    async with breaking_hub(files) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(Failure) as failure:
            await resolved(hub, tmp_path, model_id="org/model")
    assert failure.value.reason is Reason.FILE_MISSING
    assert "model-2.safetensors" in failure.value.message


async def test_pickles_of_the_hub_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with breaking_hub({"config.json": b"{}", "pytorch_model.bin": b"x"}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(Failure) as failure:
            await resolved(hub, tmp_path, uri="hf://org/model")
        assert failure.value.reason is Reason.PICKLE_REFUSED
        assert not [name for name, _ in hub.ranges]
        monkeypatch.setenv("STOKER_ALLOW_PICKLE", "true")
        allowed = environ(hub, tmp_path, STOKER_ALLOW_PICKLE="true")
        wanted = Wanted("", "hf://org/model")
        path = await asyncio.to_thread(resolve, wanted, lambda *_: None, Retrying(), allowed)
        assert (path / "pytorch_model.bin").exists()


@pytest.mark.parametrize(("given", "reason"), [("wrong", Reason.ACCESS_DENIED), (None, Reason.TOKEN_MISSING)])
async def test_a_token_that_the_hub_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, reason: Reason
) -> None:
    async with breaking_hub(FILES) as hub:
        hub.token = "right"
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        if given:
            monkeypatch.setenv("HF_TOKEN", given)
        with pytest.raises(Failure) as failure:
            await resolved(hub, tmp_path, uri="hf://org/model")
        assert failure.value.reason is reason
        monkeypatch.setenv("HF_TOKEN", "right")
        assert (await resolved(hub, tmp_path, uri="hf://org/model"))[0].name == COMMIT
        assert "Bearer right" in hub.tokens


async def start(hub: BreakingHub, *arguments: str, home: Path, **more: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "runtime",
        "fetch",
        *arguments,
        env=environ(hub, home, **more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_a_killed_fetch_is_gone_on_with_by_the_next(tmp_path: Path) -> None:
    async with breaking_hub(FILES, "hang") as hub:
        target = tmp_path / "models"
        first = await start(hub, "hf://org/model", str(target), "--state-port=0", home=tmp_path)
        await asyncio.wait_for(hub.reached.wait(), 30)
        partial = await _filled(target, 1_500_000)
        first.send_signal(signal.SIGKILL)
        await first.wait()
        hub.go_on.set()
        assert not (target / "model.safetensors").exists()
        second = await start(hub, "hf://org/model", str(target), "--state-port=0", home=tmp_path)
        _, said = await asyncio.wait_for(second.communicate(), 60)
        assert second.returncode == 0, said.decode()
        assert (target / "model.safetensors").read_bytes() == WEIGHTS
        asked = [each for name, each in hub.ranges if name == "model.safetensors"]
        assert asked == [None, f"bytes={partial}-2999999"]
        # Everything but pickles: the program that reads it is not known.
        assert {each.name for each in target.iterdir() if not each.name.startswith(".")} == {
            "config.json",
            "tokenizer.json",
            "model.safetensors",
            "README.md",
        }
        assert '"left_out": ["optimizer.pt"]' in said.decode()


async def _filled(target: Path, amount: int) -> int:
    """Waits until so many bytes of the weights are marked as written; returns how many are."""
    deadline = asyncio.get_running_loop().time() + 30
    while asyncio.get_running_loop().time() < deadline:
        for marks in target.glob(".stoker-fetch/*.progress"):
            try:
                data = marks.read_bytes()
            except FileNotFoundError:  # that of a small file, which is whole by now
                continue
            if int.from_bytes(data[8:16], "little") == len(WEIGHTS):
                done = int.from_bytes(data[24:32], "little")
                if done >= amount:
                    return done
        await asyncio.sleep(0.02)
    raise AssertionError("the first half was not written within 30 s")


async def test_two_fetches_of_one_model_into_one_cache_ask_once(tmp_path: Path) -> None:
    async with breaking_hub(FILES) as hub:
        script = (
            "from runtime.storage.resolve import Wanted, resolve\n"
            "from runtime.storage.retry import Retrying\n"
            "print(resolve(Wanted('', 'hf://org/model'), lambda *_: None, Retrying()))"
        )
        both = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", script, env=environ(hub, tmp_path), stdout=asyncio.subprocess.PIPE
            )
            for _ in range(2)
        ]
        told = [(await asyncio.wait_for(each.communicate(), 60))[0].decode().strip() for each in both]
        assert told[0] == told[1]
        assert (Path(told[0]) / "model.safetensors").read_bytes() == WEIGHTS
        assert [name for name, _ in hub.ranges].count("model.safetensors") == 1


async def test_a_fetch_says_how_far_it_is_while_it_lasts(tmp_path: Path, unused_port: int) -> None:
    async with breaking_hub(FILES, "hang") as hub:
        arguments = ["hf://org/model", str(tmp_path / "models"), f"--state-port={unused_port}"]
        process = await start(hub, *arguments, home=tmp_path)
        await asyncio.wait_for(hub.reached.wait(), 30)
        await _filled(tmp_path / "models", 1_500_000)
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{unused_port}/stoker/v1/state"
            async with session.get(url) as answer:
                document = await answer.json()
            async with session.get(url + "x") as answer:
                assert answer.status == 404
        assert document["phase"] == "Fetching"
        assert document["progress"]["unit"] == "bytes"
        assert 1_500_000 <= document["progress"]["done"] < document["progress"]["total"]
        assert document["model"] == {"id": "hf://org/model", "name": "", "revision": COMMIT}
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 40) == 143


@pytest.fixture
def unused_port() -> int:
    return free_port()


def test_a_fetch_that_fails_leaves_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[dict[str, Any]] = []
    monkeypatch.setattr(command, "write_termination_message", left.append)
    monkeypatch.setattr(command.signal, "signal", lambda number, handler: None)
    assert command.main(["gs://bucket/x", str(tmp_path), "--state-port=0"]) == 2
    assert left[0]["error"]["reason"] == "InvalidArgument"
    assert command.main(["pvc://claim", str(tmp_path), "--state-port=0"]) == 2
    assert "a folder to mount, not to fetch" in left[1]["error"]["message"]
    assert left[1]["phase"] == "Failed"


def test_offline_the_cache_is_copied(tmp_path: Path) -> None:
    cache = tmp_path / "hub"
    home = hub_cache.folder(cache, "org/model")
    snapshot = home / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    (snapshot / "config.json").write_bytes(b"{}")
    (snapshot / "model.safetensors").write_bytes(WEIGHTS)
    settings = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
    state = runtime_state.State(name="", model_id="", revision=None)
    command.fetch("hf://org/model", tmp_path / "models", state, settings)
    assert (tmp_path / "models" / "model.safetensors").read_bytes() == WEIGHTS
    assert state.document()["model"]["revision"] == COMMIT
    with pytest.raises(Failure) as failure:
        command.fetch("hf://org/other", tmp_path / "models", state, settings)
    assert failure.value.reason is Reason.HUB_UNREACHABLE


def folder(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).write_text("{}")
    return path


@pytest.mark.parametrize("scheme", ["pvc://claim/models/m", "file:///nowhere"])
def test_what_is_mounted_is_served_and_judged(tmp_path: Path, scheme: str) -> None:
    def ask(mount: Path) -> Path:
        return resolve(Wanted("", scheme, mount=mount), lambda *_: None, Retrying(), {})

    good = folder(tmp_path / "good", "config.json", "model.safetensors")
    assert ask(good) == good
    with pytest.raises(Failure, match="is not mounted") as failure:
        ask(tmp_path / "none")
    assert failure.value.reason is Reason.MODEL_NOT_FOUND
    with pytest.raises(Failure, match="it is empty") as failure:
        ask(folder(tmp_path / "empty"))
    assert failure.value.reason is Reason.MODEL_INVALID
    with pytest.raises(Failure, match="only pickled weights") as failure:
        ask(folder(tmp_path / "pickled", "config.json", "pytorch_model.bin"))
    assert failure.value.reason is Reason.PICKLE_REFUSED
    check_model(tmp_path / "pickled", scheme, pickle=True)


def test_files_that_the_pods_user_may_not_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """safetensors writes weights for their owner alone, and says of what is barred that it is not there."""
    mount = folder(tmp_path / "m", "config.json", "model.safetensors")
    (mount / "model.safetensors").chmod(0)
    if os.getuid() == 0:  # whom nothing is barred
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path).stat().st_mode & 0o444 != 0)
    with pytest.raises(Failure, match=r"may not read: model.safetensors\. Make them") as failure:
        resolve(Wanted("", "pvc://claim/m", mount=mount), lambda *_: None, Retrying(), {})
    assert failure.value.reason is Reason.ACCESS_DENIED


def test_a_process_of_the_host_reads_the_folder_itself(tmp_path: Path) -> None:
    good = folder(tmp_path / "good", "config.json", "model.safetensors")
    wanted = Wanted("", f"file://{good}", mount=tmp_path / "not mounted")
    assert resolve(wanted, lambda *_: None, Retrying(), {}) == good
