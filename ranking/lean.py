"""Keeps what a programme of ours does not need out of its process."""

import sys
from typing import Any


class _NotNow:
    """Lets nobody find pandas."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(f"{name} is not looked for", name=name)


def without_pandas() -> None:
    """pyarrow imports pandas, where that is installed, when it is first given a list: half a second to two of every
    process. Let it look once and find nothing. For processes whose end is ours, as it takes pandas objects for plain
    sequences from then on; `to_pandas` still works."""
    if "pandas" in sys.modules:
        return
    finder = _NotNow()
    sys.meta_path.insert(0, finder)
    try:
        import pyarrow

        pyarrow.array([])
    finally:
        sys.meta_path.remove(finder)
