"""The model cache, against a hub made in the test that speaks the real one's protocol."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from runtime.failures import Failure, Reason
from runtime.hub import cache as hub_cache
from runtime.hub.download import locate
from runtime.hub.fetch import fetch
from runtime.hub.progress import Progress

_ROOT = Path(__file__).parents[2]
COMMIT = "a" * 40
FILES = {
    "config.json": b'{"dtype": "bfloat16"}',
    "tokenizer.json": b"{}",
    "model.safetensors": b"w" * 5000,
    "README.md": b"not for serving",
    "pytorch_model.bin": b"the same weights once more",
    "modeling_own.py": b"print('code')",
}


def blob(data: bytes) -> str:
    """What git calls these bytes."""
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


@dataclass
class Hub:
    """Knows org/small, org/gated and org/broken."""

    url: str = ""
    asked: list[str] = field(default_factory=list)

    async def info(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name == "gated":
            status = 403 if "Authorization" in request.headers else 401
            return web.json_response({}, status=status, headers={"X-Error-Code": "GatedRepo"})
        if name == "broken":
            return web.json_response({}, status=500)
        if name != "small":
            return web.json_response({}, status=401, headers={"X-Error-Code": "RepoNotFound"})
        if request.match_info["revision"] not in ("main", COMMIT):
            return web.json_response({}, status=404, headers={"X-Error-Code": "RevisionNotFound"})
        return web.json_response({"id": f"org/{name}", "sha": COMMIT, "siblings": []})

    async def tree(self, request: web.Request) -> web.Response:
        entries = [
            {"type": "file", "path": name, "size": len(data), "oid": blob(data)}
            for name, data in FILES.items()
        ]
        return web.json_response(entries)

    async def resolve(self, request: web.Request) -> web.Response:
        self.asked.append(request.match_info["path"])
        data = FILES[request.match_info["path"]]
        tag = f'"{blob(data)}"'
        return web.Response(body=data, headers={"ETag": tag, "X-Repo-Commit": COMMIT})


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    made, app = Hub(), web.Application()
    app.router.add_get("/api/models/{org}/{name}/revision/{revision}", made.info)
    app.router.add_get("/api/models/{org}/{name}/tree/{revision}", made.tree)
    app.router.add_get("/{org}/{name}/resolve/{revision}/{path:.+}", made.resolve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


_LOCATE = """
import json, sys
from pathlib import Path
from runtime.failures import Failure
from runtime.hub.download import locate
from runtime.storage.retry import Retrying
model, revision, cache = sys.argv[1:4]
seen = []
try:
    once = Retrying(wait=lambda seconds: False)
    path = locate(model, revision or None, Path(cache), lambda *now: seen.append(now), retrying=once)
    files = sorted(file.name for file in path.iterdir())
    print(json.dumps({"path": str(path), "files": files, "progress": seen[-1:]}))
except Failure as failure:
    print(json.dumps({"reason": failure.reason, "message": failure.message}))
"""


async def ask(hub: Hub, cache: Path, model: str, revision: str = "", **extra: str) -> dict[str, object]:
    """`locate` in a process of its own: the hub's library reads its settings when it is imported."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(cache),
        "PYTHONPATH": str(_ROOT),
        "HF_ENDPOINT": hub.url,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _LOCATE,
        model,
        revision,
        str(cache),
        env=environ | extra,
        stdout=subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    answer: dict[str, object] = json.loads(out.splitlines()[-1])
    return answer


async def test_a_model_is_downloaded_once_with_what_serving_needs(hub: Hub, tmp_path: Path) -> None:
    first = await ask(hub, tmp_path, "org/small")
    assert first["files"] == ["config.json", "model.safetensors", "tokenizer.json"]
    assert first["path"] == str(hub_cache.find(tmp_path, "org/small", None))
    assert first["progress"] == [[5023, 5023]]
    hub.asked.clear()
    again = await ask(hub, tmp_path, "org/small", COMMIT)
    assert again["path"] == first["path"]
    assert hub.asked == []
    # And without the hub.
    assert (await ask(hub, tmp_path, "org/small", HF_HUB_OFFLINE="1"))["path"] == first["path"]
    gone = await ask(hub, tmp_path, "org/small", HF_ENDPOINT="http://127.0.0.1:9")
    assert gone["path"] == first["path"]


@pytest.mark.parametrize(
    ("model", "extra", "reason", "words"),
    [
        ("org/none", {}, Reason.MODEL_NOT_FOUND, "If it is private"),
        ("org/none", {"HF_TOKEN": "hf_x"}, Reason.MODEL_NOT_FOUND, "has no model org/none"),
        ("org/small@v9", {}, Reason.MODEL_NOT_FOUND, "no revision v9"),
        ("org/gated", {}, Reason.TOKEN_MISSING, "there is no HF_TOKEN"),
        ("org/gated", {"HF_TOKEN": "hf_x"}, Reason.MODEL_GATED, "Ask for access"),
        ("org/broken", {}, Reason.HUB_UNREACHABLE, "not in the cache"),
        ("org/small", {"HF_ENDPOINT": "http://127.0.0.1:9"}, Reason.HUB_UNREACHABLE, "cannot be reached"),
        ("org/small", {"HF_HUB_OFFLINE": "1"}, Reason.HUB_UNREACHABLE, "switched off (HF_HUB_OFFLINE=1)"),
    ],
)
async def test_what_can_go_wrong_is_said(
    hub: Hub, tmp_path: Path, *, model: str, extra: dict[str, str], reason: str, words: str
) -> None:
    answer = await ask(hub, tmp_path, *model.split("@"), **extra)
    assert answer["reason"] == reason
    assert words in str(answer["message"])


def snapshot(cache: Path, model: str, *files: str) -> Path:
    home = hub_cache.folder(cache, model)
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(COMMIT)
    made = home / "snapshots" / COMMIT
    made.mkdir(parents=True)
    for name in files:
        (made / name).write_bytes(FILES.get(name, b"{}"))
    return made


def test_half_a_model_is_no_model(tmp_path: Path) -> None:
    made = snapshot(tmp_path, "org/m", "config.json")
    assert hub_cache.find(tmp_path, "org/m", None) is None
    (made / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
    )
    (made / "model-1.safetensors").touch()
    assert hub_cache.find(tmp_path, "org/m", None) is None
    (made / "model-2.safetensors").touch()
    assert hub_cache.find(tmp_path, "org/m", None) == made
    assert hub_cache.find(tmp_path, "org/m", "v1") is None
    assert hub_cache.find(tmp_path, "org/m", COMMIT) == made


def test_sizes_of_weights(tmp_path: Path) -> None:
    made = snapshot(tmp_path, "org/m", "config.json", "model.safetensors", "pytorch_model.bin")
    assert hub_cache.weight_bytes(made) == 5000
    assert hub_cache.stored_element_bytes(made) == 2


@pytest.mark.parametrize("name", ["../x", "a/b/c", "a b", "", "a--b/c", "-x/y"])
def test_names_that_no_hub_has(tmp_path: Path, name: str) -> None:
    with pytest.raises(Failure) as failure:
        locate(name, None, tmp_path, lambda done, total: None)
    assert failure.value.reason is Reason.MODEL_NOT_FOUND
    with pytest.raises(Failure):
        fetch(name, None, tmp_path, refresh=False)


def test_where_the_cache_is() -> None:
    assert hub_cache.hub_cache({"HF_HUB_CACHE": "/a", "STOKER_CACHE": "/b"}) == Path("/a")
    assert hub_cache.hub_cache({"STOKER_CACHE": "/b"}) == Path("/b/huggingface/hub")
    assert hub_cache.hub_cache({"XDG_CACHE_HOME": "/c"}) == Path("/c/stoker/huggingface/hub")
    assert hub_cache.hub_cache({"HOME": "/d", "HF_HOME": "/e"}) == Path("/d/.cache/stoker/huggingface/hub")


def run_fetch(cache: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(cache),
        "STOKER_CACHE": str(cache),
        "PYTHONPATH": str(_ROOT),
    }
    return subprocess.run(
        [sys.executable, "-m", "runtime", "fetch", *arguments],
        env=environ | extra,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_fetch_of_what_is_there_is_quick_and_says_where(tmp_path: Path) -> None:
    made = snapshot(tmp_path / "huggingface" / "hub", "org/m", "config.json", "model.safetensors")
    done = run_fetch(tmp_path, "org/m", HF_HUB_OFFLINE="1")
    assert done.returncode == 0
    assert done.stdout.strip() == str(made)
    assert "stand-in" not in done.stderr
    (made / hub_cache.STAND_IN_NOTE).touch()
    assert "the weights are the dequantised stand-in" in run_fetch(tmp_path, "org/m").stderr


def test_fetch_of_what_cannot_be_had(tmp_path: Path) -> None:
    done = run_fetch(tmp_path, "org/m", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "the hub cannot be reached" in done.stderr
    assert run_fetch(tmp_path, "--nonsense").returncode == 2


class Screen:
    def __init__(self, terminal: bool) -> None:
        self.text = ""
        self._terminal = terminal

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize("terminal", [True, False])
def test_progress(terminal: bool) -> None:
    now = 0.0
    screen = Screen(terminal)
    progress = Progress("fetch", stream=screen, clock=lambda: now)  # type: ignore[arg-type]
    for step in range(101):
        now = step * 0.2
        progress(step * 10**6, 100 * 10**6)
    progress.done()
    if terminal:
        assert "\r" in screen.text
        assert "[############################] 100%, 100 of 100 MB" in screen.text
    else:
        assert screen.text.splitlines() == [
            "fetch:  25%, 25 of 100 MB",
            "fetch:  50%, 50 of 100 MB",
            "fetch:  75%, 75 of 100 MB",
            "fetch: 100%, 100 of 100 MB",
            "fetch: done (20 s)",
        ]


@pytest.mark.model
def test_the_real_model_is_complete_and_readable_by_pods(smollm2: Path) -> None:
    assert hub_cache.complete(smollm2)
    assert {"chat_template.jinja", "tokenizer.json", "generation_config.json"} <= {
        p.name for p in smollm2.iterdir()
    }
    for path in smollm2.iterdir():
        assert path.stat().st_mode & 0o444 == 0o444, path
    for folder in (smollm2, smollm2.parent, smollm2.parents[1], smollm2.parents[1] / "refs"):
        assert folder.stat().st_mode & 0o555 == 0o555, folder
