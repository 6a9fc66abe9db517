"""The dataset card of an export (README.md): YAML for the Hugging Face hub and library, then what people ask."""

import json
from collections.abc import Sequence
from typing import Any, Final

import yaml

from ranking.subsets.export.provenance import UNKNOWN

FILE: Final = "README.md"

_SIZES: Final = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_HUB_LICENCES: Final = (
    "apache-2.0", "mit", "openrail", "creativeml-openrail-m", "openrail++", "bsd-3-clause", "cc0-1.0", "cc-by-4.0",
    "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cdla-permissive-2.0", "odc-by", "unknown",
)  # fmt: skip
_SHOWN: Final = 20


def card(facts: dict[str, Any], *, format: str, counts: dict[str, Any], data_files: str | None, layout: str) -> bytes:
    """Markdown. `data_files` is the pattern of what `datasets.load_dataset` reads, None where that cannot; `layout`
    explains the files in a few sentences."""
    return f"---\n{_front(facts, counts, data_files)}---\n\n{_body(facts, format, counts, layout)}".encode()


def _front(facts: dict[str, Any], counts: dict[str, Any], data_files: str | None) -> str:
    licence = facts["dataset"]["licence"]
    known = licence.lower() in _HUB_LICENCES
    front: dict[str, Any] = {
        "pretty_name": facts["subset"],
        "license": licence.lower() if known else "other",
        **({} if known else {"license_name": licence}),
        "task_categories": ["text-to-image"],
        "tags": ["preference", "dpo", "pairsieve"],
        "size_categories": [next((word for most, word in _SIZES if counts["pairs"] < most), "n>10M")],
    }
    if data_files:
        front["configs"] = [{"config_name": "default", "data_files": [{"split": "train", "path": data_files}]}]
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True)


def _body(facts: dict[str, Any], format: str, counts: dict[str, Any], layout: str) -> str:
    snapshot, dataset, labels = facts["snapshot"], facts["dataset"], facts["labels"]
    parts = [
        f"# {facts['subset']}",
        f"{counts['pairs']:,} image-preference pairs, ranked and selected by {facts['software']}, as {format}.",
        _table(
            ("what", "value"),
            [
                ("subset", f"`{facts['subset']}`, {facts['pairs']:,} pairs, sha256 `{facts['sha256']}`"),
                ("snapshot", f"{snapshot['number']}, sha `{snapshot['sha']}`"),
                (
                    "dataset",
                    f"`{dataset['name']}`, {dataset['pairs']:,} pairs, revision {dataset['revision']}, "
                    f"sha `{dataset['sha']}`",
                ),
                ("licence of the dataset", _licence(dataset["licence"])),
                ("labels", f"{_inline(labels['policy'])}: {labels['meaning']}"),
                ("pairs in this export", f"{counts['pairs']:,}"),
                ("left out", _left_out(counts["left_out"])),
                ("images", _images(counts)),
            ],
        ),
        "## Files",
        layout,
        "`manifest.json` has the SHA-256 of every file; it was written last, so a folder that has it is complete.",
        "## Recipe",
        f"```json\n{json.dumps(facts['recipe'], indent=1, sort_keys=True, ensure_ascii=False)}\n```",
        "## Scorers",
        _scorers(facts["scorers"]),
        "## Sources",
        _sources(dataset["sources"]),
        "## Statistics",
        "Of the dataset and of the subset, before anything was left out of this export.",
        _statistics(facts["statistics"]),
    ]
    return "\n\n".join(parts) + "\n"


def _licence(licence: str) -> str:
    return "unknown: the store does not know it" if licence == UNKNOWN else licence


def _left_out(left_out: dict[str, int]) -> str:
    words = {"taken_down": "an image was taken down"}
    return ", ".join(f"{count:,} ({words.get(why, f'image {why}')})" for why, count in left_out.items()) or "none"


def _images(counts: dict[str, Any]) -> str:
    found = ", ".join(f"{count:,} {ending}" for ending, count in sorted(counts["images"].items()))
    return f"{found}, as they were stored, not encoded again" if found else "none in this export"


def _scorers(scorers: list[dict[str, Any]]) -> str:
    if not scorers:
        return "The snapshot has none."
    rows = [
        (
            f"`{scorer['id']}`",
            "yes" if scorer["named_in_recipe"] else "no",
            scorer["licence"],
            scorer["weights_licence"],
            "; ".join(f"{file['source']} (sha256 {file['sha256'][:12]})" for file in scorer["weights"]) or "–",
        )
        for scorer in scorers
    ]
    told = "An id has a fingerprint of weights, preprocessing and code. Licences are those that the scorer states."
    return f"{told}\n\n" + _table(("scorer", "named in the recipe", "code", "weights", "files"), rows)


def _sources(sources: list[dict[str, Any]]) -> str:
    rows = [
        (source.get("uri", "a local file"), f"{source['rows']:,}", f"{source['bytes']:,}", f"`{source['sha256']}`")
        for source in sources[:_SHOWN]
    ]
    more = f"\n\nand {len(sources) - _SHOWN:,} more, which the manifest lists." if len(sources) > _SHOWN else ""
    return _table(("source", "rows", "bytes", "sha256"), rows) + more


def _statistics(statistics: dict[str, Any]) -> str:
    before, after = statistics.get("before", {}), statistics.get("after", {})
    rows = []
    for name in before:
        if isinstance(before[name], dict):
            rows += [
                (f"{name}: {key}", _number(value), _number(after.get(name, {}).get(key)))
                for key, value in before[name].items()
                if isinstance(value, int | float)
            ]
        elif isinstance(before[name], int | float):
            rows.append((name, _number(before[name]), _number(after.get(name))))
    return _table(("", "dataset", "subset"), rows)


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _inline(value: Any) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value, sort_keys=True)}`"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
