"""docs/notebook.md does what it says: its code is run as printed, against a small store."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest
from notebook_store import scored_catalog

PAGE = Path(__file__).parents[3] / "docs" / "notebook.md"


def test_the_code_of_the_page_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored_catalog(tmp_path, "toyworld", ("preference-toy", "clip-toy"), embedded=True)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 8
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
    assert "unknown field 'is_tye'; did you mean is_tie" in printed.getvalue()
    # And not in vain: what the page made is there, and is what it says.
    taken = names["best"].to_arrow()
    eligible = names["best"].preview(None).num_rows
    assert taken.num_rows == names["subset"].record.rows == int(0.25 * eligible + 0.5)
    assert names["subset"].to_arrow().equals(taken)
    assert names["spread"].to_arrow().num_rows == taken.num_rows
    assert [each.record.name for each in names["catalog"].subsets()] == ["qsd-best", "random"]
