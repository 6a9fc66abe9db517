"""Four processes do the same at the same moment: none fails, and there is one result."""

from pathlib import Path

import pytest
from fault_steps import together


@pytest.mark.parametrize("scenario", ["commit", "ingest", "snapshot", "wide table", "subset", "collection"])
def test_many_at_once_make_one_result(tmp_path: Path, scenario: str) -> None:
    together(tmp_path, scenario)
