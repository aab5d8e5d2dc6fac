"""The settings that an installation shows, commented out, are settings, and usual where it says so."""

from __future__ import annotations

import dataclasses
import re

import yaml

from stoker.serving.settings import Settings
from tests.serving import golden

SHOWN = yaml.safe_load((golden.MANIFESTS / "controller" / "settings.yaml").read_text())["data"][
    "settings.yaml"
]


def test_every_line_of_the_shipped_settings_is_one() -> None:
    # A comment that begins with a field's name, and what is indented below it.
    lines = [
        re.sub(r"^# ", "", line) for line in SHOWN.splitlines() if re.match(r"(# )?([a-z_]+:( |$)|  )", line)
    ]
    given = yaml.safe_load("\n".join(lines))
    settings = Settings.from_mapping(given)
    assert len(given) > 10
    assert dataclasses.replace(settings, image_variants=Settings().image_variants) == Settings()
