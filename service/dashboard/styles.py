"""How near a run came to a style, as `pairsieve style measure` left it beside the run, for its page. Measures
nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from ranking.store.blobs import Store
from service.dashboard.evaluations import Ends, estimate

_TITLES: Final = {
    "fid": ("FID", "less is nearer"),
    "kid": ("KID", "less is nearer"),
    "cmmd": ("CMMD", "less is nearer"),
    "gram": ("Gram", "less is nearer"),
    "text": ("Style's text", "cosine, more is nearer"),
    "prompt": ("Prompt", "cosine, what the style may cost"),
}
_ROWS: Final = {
    "references": "the references themselves",
    "originals": "their originals, unstyled",
    "vae": "the references through the VAE",
    "base": "base model",
}


@dataclass(frozen=True)
class Measured:
    """A row: what it is, the run's id if it is one, and for each measure its value and, of a run, its change from the
    base's."""

    name: str
    run: str | None
    pictures: int
    cells: list[tuple[Ends | None, Ends | None]]


@dataclass(frozen=True)
class StyleTable:
    """One report. `measures` are (title, which way is nearer), `networks` what pictures were compared by."""

    style: str
    created: str
    references: int
    prompts: int
    networks: str
    measures: list[tuple[str, str]]
    rows: list[Measured]


def read_styles(store: Store, run_id: str) -> list[StyleTable]:
    """The reports beside a run, newest first; what does not read as one is left out."""
    keys = [key for key in store.list(f"runs/{run_id}/style") if key.endswith(".json")]
    found = [_read(store.get(key)) for key in keys]
    return sorted((each for each in found if each is not None), key=lambda each: each.created, reverse=True)


def _read(data: bytes) -> StyleTable | None:
    try:
        value = json.loads(data)
        names = [name for name in _TITLES if any(name in row["values"] for row in value["rows"])]
        return StyleTable(
            style=str(value["style"]),
            created=str(value["created"]),
            references=int(value["references"]),
            prompts=int(value["prompts"]),
            networks=f"features {value['features']}, textures {value['texture']}",
            measures=[_TITLES[name] for name in names],
            rows=[_row(row, names) for row in value["rows"]],
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _row(row: dict[str, Any], names: list[str]) -> Measured:
    name = str(row["name"])
    return Measured(
        name=_ROWS.get(name, name),
        run=None if name in _ROWS else name,
        pictures=int(row["pictures"]),
        cells=[(estimate(row["values"], each), estimate(row.get("change"), each)) for each in names],
    )
