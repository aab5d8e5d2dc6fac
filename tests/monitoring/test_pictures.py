"""The pictures: units as Grafana writes them, and every kind of panel drawn from what Prometheus answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from scripts.monitoring import listing, pictures
from scripts.monitoring.recording import Recording, record
from scripts.monitoring.units import written


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.25, "s", "250 ms"),
        (0, "s", "0"),
        (90, "s", "1.5 min"),
        (518400, "s", "6 d"),
        (3e-7, "s", "0.3 µs"),
        (0.995, "percentunit", "99.5 %"),
        (1234.0, "suffix: tok/s", "1,234 tok/s"),
        (14.4, "suffix:x", "14.4x"),
        (1572864, "bytes", "1.5 MiB"),
        (12.34, "reqps", "12.3 req/s"),
        (1, "bool_yes_no", "yes"),
        (0, "bool_yes_no", "no"),
        (12345.6, "none", "12,346"),
    ],
)
def test_a_value_in_its_unit(value: float, unit: str, text: str) -> None:
    assert written(value, unit) == text


class _Answers(BaseHTTPRequestHandler):
    """A Prometheus that finds three buckets, or three lines, whatever it is asked."""

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        series = []
        for number, le in enumerate(("0.1", "0.5", "+Inf"), start=1):
            found: dict[str, object] = {"metric": {"le": le, "namespace": "a", "name": f"m{number}"}}
            if "start" in asked:
                begin, end = float(asked["start"][0]), float(asked["end"][0])
                found["values"] = [[begin, "NaN"], [begin + 5, str(number)], [end, str(2 * number)]]
            else:
                found["value"] = [float(asked["time"][0]), str(number)]
            series.append(found)
        body = json.dumps({"data": {"result": series}}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def recorded() -> Iterator[Recording]:
    server = HTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        yield record(url, end=time.time(), seconds=60, step=5, choices={"service": "m1"})
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_was_recorded_is_read_again(recorded: Recording, tmp_path: Path) -> None:
    recorded.save(tmp_path / "recording.json")
    assert Recording.load(tmp_path / "recording.json") == recorded
    panel = next(each for each in listing.panels() if each.kind == "timeseries")
    line = recorded.of(panel, "A")[0]
    assert line.values == [1, 2], "what is not a number is a gap"
    assert line.times == pytest.approx([5, 60])


def test_every_panel_is_drawn(recorded: Recording, tmp_path: Path) -> None:
    assert {each.kind for each in listing.panels()} <= {"timeseries", "heatmap", "stat", "table"}
    drawn = pictures.draw(recorded, tmp_path, {"fleet", "service"})
    assert {path.stem for path in drawn} == {"fleet", "service"}
    for path in drawn:
        with Image.open(path) as picture:
            colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24) or []}
        # A thin line's edges are blended with what is behind it, and all of it may be edge.
        first = (0x1F, 0x77, 0xD0)
        near = [max(abs(a - b) for a, b in zip(colour, first, strict=True)) for colour in colours]
        assert min(near) < 24, "the first line's"
