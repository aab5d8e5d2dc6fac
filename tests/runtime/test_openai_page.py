"""docs/openai.md names every path, status and backend reason that there is, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

from runtime.openai import problem
from runtime.server.app import make_app
from runtime.state import BackendReason

from .serving import Server

PAGE = (Path(__file__).parents[2] / "docs" / "openai.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The table under a heading: its cells, without the head."""
    section = PAGE.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    found = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in found[1:]]


def spread(path: str) -> list[str]:
    """`/v2/health/{live,ready}` is two paths, `/v2/models[/ready]` too."""
    if match := re.search(r"\{([^{}]*,[^{}]*)\}", path):
        return [each for word in match[1].split(",") for each in spread(path.replace(match[0], word))]
    if match := re.search(r"\[([^]]*)\]", path):
        return [*spread(path.replace(match[0], "")), *spread(path.replace(match[0], match[1]))]
    return [path]


async def test_every_path(echo: Server) -> None:
    named = {
        each
        for row in rows("What bounds requests is in [limits.md](limits.md).")
        for quoted in re.findall(r"`(?:GET |POST )?(/[^`]*)`", row[0])
        for each in spread(quoted)
    }
    app = make_app(echo.service)
    served = {
        re.sub(r"\{name\}", "{id}", resource.canonical).removeprefix("/openai")
        for resource in app.router.resources()
    }
    assert named == served


def test_every_status() -> None:
    named = {int(each) for row in rows("## Errors") for each in row[0].split(",")}
    assert named == set(problem._TYPES) | {500}


def test_every_reason_of_a_backend() -> None:
    assert {row[0].strip("`") for row in rows("## Which backend answers")} == set(BackendReason)
