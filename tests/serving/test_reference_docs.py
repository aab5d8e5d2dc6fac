"""The reference pages are what the CRDs and the table of fields say."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import reference_docs
from stoker.serving.api import fields


@pytest.mark.parametrize("name", reference_docs.PAGES)
def test_a_page_is_as_its_source_says(name: str) -> None:
    written = reference_docs.PAGES[name].read_text()
    assert reference_docs.page(name) == written, "`make generate` writes it anew"


def test_every_field_of_a_predictor_is_on_the_page() -> None:
    text = reference_docs.PAGES["kserve-fields"].read_text()
    for table in (
        fields.SPEC,
        fields.PREDICTOR,
        fields.EXTENSION,
        fields.POD,
        fields.MODEL,
        fields.CONTAINER,
    ):
        for row in table.values():
            assert f"| `{row.name}` | {row.fate}" in text


def test_a_page_without_a_part_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "api.md"
    page.write_text("<!-- generated: predictor -->\n<!-- end -->\n")
    monkeypatch.setitem(reference_docs.PAGES, "api", page)
    with pytest.raises(ValueError, match="lacks the parts"):
        reference_docs.page("api")
