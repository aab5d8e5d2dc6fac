"""`make demo`, as a newcomer sees it."""

from __future__ import annotations

import sys

import pytest

from e2e.cluster import Cluster


@pytest.mark.timeout(400)
def test_the_demo_shows_four_answers_and_how_to_go_on(cluster: Cluster) -> None:
    said = cluster.run(sys.executable, "-m", "stoker.cli.demo", timeout=380)
    assert "http://smollm2.default.example.com" in said
    assert said.count("curl ") >= 4, "each request is shown with the command that repeats it"
    assert said.count("data: [DONE]") == 2
    for words in ('"object": "text_completion"', '"object": "chat.completion"', "chat.completion.chunk"):
        assert words in said.replace('":"', '": "'), said
    assert "stoker down" in said
    pod = cluster.get("pods", selector="serving.kserve.io/inferenceservice=smollm2")["items"][0]
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
