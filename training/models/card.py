"""The model card (README.md) of a run: where the model comes from, what it was trained on and how, what came of it, and
how to load it. A pure function of plain data; paths of the machine that trained it are reduced to their last part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from training.models.describe import PIPELINES, Family

FILE = "README.md"

_DENOISERS: dict[Family, str] = {
    "sd": "UNet2DConditionModel",
    "sdxl": "UNet2DConditionModel",
    "sd3": "SD3Transformer2DModel",
}
_TAGS: dict[Family, str] = {"sd": "stable-diffusion", "sdxl": "stable-diffusion-xl", "sd3": "stable-diffusion-3"}


@dataclass(frozen=True)
class Result:
    """What one judge said of a run against its base: the share of images it prefers (a tie counts one half), with a
    95 % interval. `circular`: it had a part in choosing or labelling the pairs."""

    judge: str
    rate: float
    low: float
    high: float
    images: int
    prompts: int = 0
    circular: bool = False


@dataclass(frozen=True)
class Card:
    """What a model card is made from. `base` is a hub name or a path; `holds` says what the folder has: the whole
    `pipeline`, the `denoiser`, or the `adapters`. `facts` are further rows of its table, in their order."""

    run: str
    family: Family
    base: str
    commit: str | None
    fingerprint: str
    holds: str
    without_t5: bool
    method: str
    subset: str
    subset_sha256: str
    snapshot: int
    snapshot_sha: str
    dataset: str
    recipe: Mapping[str, Any]
    config: Mapping[str, Any]
    facts: Mapping[str, str]
    results: Sequence[Result] = ()
    dataset_licence: str | None = None


def render(card: Card) -> str:
    """The card as Markdown under YAML that the Hugging Face hub reads."""
    return f"---\n{_front(card)}---\n\n" + "\n\n".join(part for part in _body(card) if part) + "\n"


def public(value: Any) -> Any:
    """A value without paths of this machine: of an absolute one, or one below the home folder, the last part stays."""
    if isinstance(value, Mapping):
        return {key: public(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [public(inner) for inner in value]
    if isinstance(value, str) and _is_path(value):
        return (PureWindowsPath(value) if "\\" in value else PurePath(value)).name
    return value


def _is_path(text: str) -> bool:
    if "\n" in text:
        return False
    beneath = text.startswith(("~/", "./", "../", "file:"))
    return beneath or PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()


def _on_hub(card: Card) -> str | None:
    name = card.base.partition("@")[0]
    return name if card.commit is not None else None


def _front(card: Card) -> str:
    hub = _on_hub(card)
    tags = ["text-to-image", "diffusers", _TAGS[card.family], "preference-optimisation", card.method, "pairsieve"]
    front: dict[str, Any] = {
        # The base model's licence governs what is derived from it, and only its owner states that.
        "license": "other",
        "license_name": "that-of-the-base-model",
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        **({"base_model": hub} if hub else {}),
        **({"base_model_relation": "adapter" if card.holds == "adapters" else "finetune"} if hub else {}),
        "tags": [*tags, "lora"] if card.holds == "adapters" else tags,
    }
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True)


def _body(card: Card) -> list[str]:
    base = str(public(card.base))
    rows = {
        "base model": f"`{base}`" + (f", commit `{card.commit}`" if card.commit else ""),
        "fingerprint of the base": f"`{card.fingerprint}`",
        "method": f"`{card.method}`",
        "subset": f"`{card.subset}`, sha256 `{card.subset_sha256}`",
        "snapshot": f"{card.snapshot}, sha `{card.snapshot_sha}`",
        "dataset": f"`{card.dataset}`",
        **card.facts,
    }
    return [
        f"# {base.rpartition('/')[2]} on {card.subset} by {card.method}",
        f"What run `{card.run}` of Pairsieve left: {_holds(card)}, trained on image-preference pairs that a recipe "
        "selected.",
        _table(("what", "value"), list(rows.items())),
        "## Load it",
        f"```python\n{loading(card)}\n```",
        "## Results",
        _results(card.results),
        "What was compared after this card was written is not in it: "
        f"`pairsieve runs {card.run} --card FILE` writes it anew.",
        "## The recipe of the subset",
        f"```yaml\n{_yaml(card.recipe)}```",
        "## The training config",
        f"```yaml\n{_yaml(card.config)}```",
        "## Licences",
        "The weights derive from the base model, whose licence applies to them. The licence of the dataset is "
        f"{card.dataset_licence or 'not known to the store it came from'}; what it asks of models trained on it is for "
        "you to check.",
    ]


def loading(card: Card) -> str:
    """The lines that load what is in the folder with diffusers; `folder` is where it lies."""
    pipeline, denoiser = PIPELINES[card.family], _DENOISERS[card.family]
    part = "transformer" if card.family == "sd3" else "unet"
    without = ", text_encoder_3=None, tokenizer_3=None" if card.without_t5 else ""
    if card.holds == "pipeline":
        return f'from diffusers import {pipeline}\n\npipe = {pipeline}.from_pretrained("folder"{without})'
    base = card.base.partition("@")[0] if card.commit else "the-base-model"
    pinned = f', revision="{card.commit}"' if card.commit else ""
    if card.holds == "adapters":
        return (
            f'from diffusers import {pipeline}\n\npipe = {pipeline}.from_pretrained("{base}"{pinned}{without})\n'
            'pipe.load_lora_weights("folder")'
        )
    return (
        f"from diffusers import {pipeline}, {denoiser}\n\n"
        f'{part} = {denoiser}.from_pretrained("folder", subfolder="{part}")\n'
        f'pipe = {pipeline}.from_pretrained("{base}"{pinned}, {part}={part}{without})'
    )


def _holds(card: Card) -> str:
    if card.holds == "adapters":
        return "LoRA adapters"
    return "a whole pipeline with a fine-tuned denoiser" if card.holds == "pipeline" else "a fine-tuned denoiser"


def _results(results: Sequence[Result]) -> str:
    if not results:
        return "None yet: this model has not been compared with its base."
    rows = [
        (
            f"`{each.judge}`" + (" (circular)" if each.circular else ""),
            f"{each.rate:.1%}",
            f"{each.low:.1%} – {each.high:.1%}",
            f"{each.images:,}",
            f"{each.prompts:,}" if each.prompts else "",
        )
        for each in results
    ]
    told = "Win rate against the base model: equal prompts, equal seeds, a tie counts one half, bootstrap over prompts."
    if any(each.circular for each in results):
        told += " A circular judge had a part in choosing or labelling the pairs: it is no independent one."
    return f"{told}\n\n" + _table(("judge", "win rate", "95 %", "images", "prompts"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _yaml(value: Mapping[str, Any]) -> str:
    return yaml.safe_dump(public(value), sort_keys=False, allow_unicode=True)
