"""The card of Toyworld's models: how they were trained and what they reach, from measurements only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

_TEXT = """\
# Toyworld's models

Tiny models for the demo, the tests and the studies. They know coloured shapes and nothing else. All were trained from
random weights, on pictures that `training/toyworld/world.py` draws, by one seeded script:

    python -m training.toyworld.make_models

{{ "{:,}".format(size) }} bytes of float16 safetensors; made with torch {{ made.torch }} on {{ made.machine }}. Figures are
on held-out data: pictures that training never drew, and for the preference model and the sampler prompts that no
training pair shows. Apache-2.0, like the code.

| model | architecture | trained on | reaches |
|---|---|---|---|
| `pipeline/vae` | diffusers `AutoencoderKL`, 64 px to 8×8×4 | 18,000 pictures | PSNR {{ vae.psnr_db }} dB; the oracle's \
verdict on a pair survives in {{ "%.1f"|format(100 * vae.oracle_verdict_kept) }} % of {{ "{:,}".format(vae.pairs) }} pairs |
| `clip` | open_clip `CLIP`, ViT 4×96, patch 8; text 2×96 | 30,000 captioned pictures | retrieval among \
{{ clip.candidates }} prompts: top-1 {{ "%.1f"|format(100 * clip.retrieval_top1_flawless) }} % on flawless pictures, \
{{ "%.1f"|format(100 * clip.retrieval_top1) }} % on pictures as the generators draw them (top-5 \
{{ "%.1f"|format(100 * clip.retrieval_top5) }} %) |
| `aesthetic` | one affine map on CLIP's image embedding | 8,000 noisy ratings | correlation \
{{ "%.3f"|format(aesthetic.rating_correlation) }} with the noise-free rating |
| `preference` | the CLIP, fine-tuned by PickScore's objective | 20,000 pairs, a quarter of the labels flipped | orders \
{{ "%.1f"|format(100 * preference.pair_accuracy) }} % of {{ "{:,}".format(preference.pairs) }} pairs as the oracle does; \
its raters manage {{ "%.1f"|format(100 * preference.rater_accuracy) }} % |
| `pipeline` | diffusers `StableDiffusionPipeline` parts: UNet 48-96 channels, CLIP text encoder 2×48 | 30,000 pictures \
of all generators, faults included | oracle utility {{ "%.3f"|format(denoiser.oracle_utility) }} on \
{{ denoiser.images }} samples (20 DDIM steps, guidance 3) |

The sampler's faults are on purpose: it learnt from generators that draw wrong shapes and colours, soft edges and stains,
so that preference training has something to mend. Its verdict in parts (1 is flawless):
{% for part in ("colour", "shape", "background", "sharpness", "evenness") %}{{ part }} {{ "%.2f"|format(denoiser[part]) }}\
{{ ", " if not loop.last else "." }}{% endfor %}
"""


def write_card(out: Path, measured: dict[str, Any], size: int) -> None:
    """Write `out/CARD.md`. Raises jinja2's UndefinedError where a measurement is missing."""
    template = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True).from_string(_TEXT)
    text = template.render(size=size, made=measured["made_with"], **measured)
    (out / "CARD.md").write_text(text, encoding="utf-8")
