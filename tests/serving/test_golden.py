"""What users write, and the pods or refusals that come of it, as pairs of files."""

from __future__ import annotations

import pytest

from tests import golden_pairs
from tests.serving import golden


@pytest.mark.parametrize("case", golden.CASES)
def test_output_is_as_recorded(case: str) -> None:
    recorded = (golden.FOLDER / f"{case}.output.yaml").read_text()
    assert golden.output_of(case) == recorded, "`python -m tests.serving.golden --write` records it anew"


def test_every_output_has_its_input() -> None:
    assert golden_pairs.recorded(golden.FOLDER) == set(golden.CASES)
