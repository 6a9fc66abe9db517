"""What a model is, from its config files alone: family, shapes and numbers of weights, before any weight is read. What
cannot be trained is refused here, in one line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from training.models.sources import ModelError, Source, locate
from training.models.weight_files import fetch_weights

Family = Literal["sd", "sdxl", "sd3"]
Prediction = Literal["epsilon", "v_prediction", "flow"]

T5_TOKENS = 256
"""What StableDiffusion3Pipeline takes of a prompt for its T5, and the zeros it puts where there is none."""

PIPELINES: dict[Family, str] = {
    "sd": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
}
"""diffusers' class of each family."""

_DENOISER = {"sd": "unet", "sdxl": "unet", "sd3": "transformer"}
_NEEDED = {
    "sd": ("unet", "vae", "text_encoder", "tokenizer", "scheduler"),
    "sdxl": ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"),
    "sd3": ("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"),
}


@dataclass(frozen=True)
class Description:
    """A model's shapes. `resolution` is the side in pixels it was made for, `stride` the pixels per latent element, and
    sides of pictures are multiples of `multiple`. `conditioning` has the shape of each tensor of one prompt,
    `parameters` the weights of denoiser, VAE and text encoders. `configs` are the files, by part."""

    name: str
    family: Family
    prediction: Prediction
    resolution: int
    stride: int
    multiple: int
    latent_channels: int
    conditioning: Mapping[str, tuple[int, ...]]
    parameters: Mapping[str, int]
    source: Source = field(repr=False)
    vae_source: Source | None = field(repr=False)
    index: Mapping[str, Any] = field(repr=False)
    configs: Mapping[str, dict[str, Any]] = field(repr=False)

    @property
    def part(self) -> str:
        """The folder of the denoiser: unet or transformer."""
        return _DENOISER[self.family]

    @property
    def commit(self) -> str | None:
        """The commit on the hub, None for a folder."""
        return self.source.commit

    @property
    def text_parts(self) -> tuple[str, ...]:
        """The text encoders that there are, by number."""
        return tuple(part for part in ("text_encoder", "text_encoder_2", "text_encoder_3") if part in self.configs)

    def part_folder(self, part: str) -> Path:
        """Where a part's files lie."""
        if part != "vae" or self.vae_source is None:
            return self.source.folder / part
        inner = self.vae_source.folder / "vae"
        return inner if inner.is_dir() else self.vae_source.folder

    def fetch_weights(self) -> None:
        """See that the weights are in place, from the hub if the model comes from there."""
        parts = [self.part, "vae", *self.text_parts]
        fetch_weights(self.source, [part for part in parts if part != "vae" or self.vae_source is None])
        if self.vae_source is not None:
            fetch_weights(self.vae_source, ["vae", ""])

    def latent_shape(self, height: int | None = None, width: int | None = None) -> tuple[int, int, int]:
        """(C, h, w) of a picture's latents, of the model's own size unless another is given in pixels."""
        rows, columns = height or self.resolution, width or height or self.resolution
        return self.latent_channels, rows // self.stride, columns // self.stride


def describe(name: str, *, vae: str | None = None) -> Description:
    """What the model of this name is, perhaps with another model's VAE; only config files are read (and fetched).

    Raises ModelError for a model that is missing, whose parts do not fit together, or that is of no family known here.
    """
    source, other = locate(name), None if vae is None else locate(vae)
    index = read_index(source)
    configs = _configs(source, index)
    if other is not None:
        configs["vae"] = vae_config(other)
    try:
        return _described(name, source, other, index, configs)
    except KeyError as error:
        raise ModelError(
            f"a config of the model {name!r} lacks {error}", hint="give a folder that diffusers' save_pretrained wrote"
        ) from error


def _described(
    name: str, source: Source, other: Source | None, index: dict[str, Any], configs: dict[str, dict[str, Any]]
) -> Description:
    family = _family(source, index, configs)
    for part in _NEEDED[family]:
        if part not in configs and not part.startswith("tokenizer"):
            raise ModelError(
                f"the model {name!r} has no {part}", hint="give a folder that diffusers' save_pretrained wrote"
            )
    _refuse_misfits(name, family, configs)
    denoiser, picture = configs[_DENOISER[family]], configs["vae"]
    stride = 2 ** (len(picture["block_out_channels"]) - 1)
    side = denoiser["sample_size"] if isinstance(denoiser["sample_size"], int) else max(denoiser["sample_size"])
    blocks = denoiser["patch_size"] if family == "sd3" else 2 ** (len(denoiser["block_out_channels"]) - 1)
    return Description(
        name=name,
        family=family,
        prediction=_prediction(name, family, configs["scheduler"]),
        resolution=side * stride,
        stride=stride,
        multiple=stride * blocks,
        latent_channels=_latent_channels(picture),
        conditioning=_conditioning(family, configs),
        parameters=_parameters(family, configs),
        source=source,
        vae_source=other,
        index=index,
        configs=configs,
    )


def read_index(source: Source) -> dict[str, Any]:
    """model_index.json."""
    return _read(source, source.folder / "model_index.json")


def vae_config(source: Source) -> dict[str, Any]:
    """The config of a VAE that lies alone in a folder, or in a pipeline's."""
    alone = source.folder / "config.json"
    return _read(source, alone if alone.is_file() else source.folder / "vae" / "config.json")


def meta_denoiser(family: Family, config: Mapping[str, Any]) -> Any:
    """A denoiser of this config without weights, on the meta device."""
    import torch

    with torch.device("meta"):
        if family == "sd3":
            from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel

            return SD3Transformer2DModel.from_config(dict(config))
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        return UNet2DConditionModel.from_config(dict(config))


def meta_vae(config: Mapping[str, Any]) -> Any:
    """A VAE of this config without weights, on the meta device."""
    import torch
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    with torch.device("meta"):
        return AutoencoderKL.from_config(dict(config))


def _read(source: Source, path: Path) -> dict[str, Any]:
    where = path.relative_to(source.folder)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ModelError(
            f"the model {source.name!r} has no {where}", hint="give a folder that diffusers' save_pretrained wrote"
        ) from None
    except ValueError as error:
        raise ModelError(f"{where} of the model {source.name!r} is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise ModelError(f"{where} of the model {source.name!r} is not a JSON object")
    return found


def _configs(source: Source, index: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found = {}
    for part, entry in index.items():
        if not isinstance(entry, list) or entry[:1] == [None] or "token" in part:
            continue
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        path = source.folder / part / name
        if path.is_file() or part in ("unet", "transformer", "vae", "scheduler") or part.startswith("text_encoder"):
            found[part] = _read(source, path)
    return found


def _family(source: Source, index: Mapping[str, Any], configs: Mapping[str, dict[str, Any]]) -> Family:
    if configs.get("transformer", {}).get("_class_name") == "SD3Transformer2DModel":
        return "sd3"
    unet = configs.get("unet", {})
    if unet.get("_class_name") == "UNet2DConditionModel":
        if unet.get("addition_embed_type") == "text_time":
            return "sdxl"
        if unet.get("addition_embed_type") is None and unet.get("class_embed_type") is None:
            return "sd"
    kind = index.get("_class_name", "pipeline without a name")
    raise ModelError(
        f"the model {source.name!r} is a {kind}, which cannot be trained",
        code="model-family",
        hint="Stable Diffusion 1.x and 2.x, SDXL and Stable Diffusion 3 can",
    )


def _refuse_misfits(name: str, family: Family, configs: Mapping[str, dict[str, Any]]) -> None:
    denoiser, channels = configs[_DENOISER[family]], _latent_channels(configs["vae"])
    widths = [_width(configs[part]) for part in ("text_encoder", "text_encoder_2") if part in configs]
    misfits = []
    if denoiser["in_channels"] != channels or denoiser["out_channels"] != channels:
        misfits.append(
            f"its denoiser takes {denoiser['in_channels']} channels and gives {denoiser['out_channels']}, its VAE has "
            f"{channels}"
        )
    if family == "sd3":
        _expect(misfits, "pooled text states", denoiser["pooled_projection_dim"], _pooled(family, configs))
        third = _width(configs["text_encoder_3"]) if "text_encoder_3" in configs else denoiser["joint_attention_dim"]
        _expect(misfits, "the states of its T5", denoiser["joint_attention_dim"], third)
        if sum(widths) > denoiser["joint_attention_dim"]:
            _expect(misfits, "text states", denoiser["joint_attention_dim"], sum(widths))
    elif isinstance(denoiser["cross_attention_dim"], int):
        _expect(misfits, "text states", denoiser["cross_attention_dim"], sum(widths))
    if family == "sdxl":
        # Six numbers of the picture's geometry; SDXL's refiner has five.
        told = denoiser["projection_class_embeddings_input_dim"] - 6 * denoiser["addition_time_embed_dim"]
        _expect(misfits, "pooled text states", told, _pooled(family, configs))
    if misfits:
        raise ModelError(
            f"the parts of the model {name!r} do not fit together: {misfits[0]}",
            code="model-shape",
            hint="base models can be trained; refiners, inpainting models and parts of other models cannot",
        )


def _expect(misfits: list[str], what: str, wanted: int, found: int) -> None:
    if wanted != found:
        misfits.append(f"its denoiser takes {what} of width {wanted}, its text encoders give {found}")


def _prediction(name: str, family: Family, scheduler: Mapping[str, Any]) -> Prediction:
    kind = str(scheduler.get("_class_name", "scheduler without a name"))
    flows = kind.startswith("FlowMatch")
    if family == "sd3":
        if flows:
            return "flow"
        raise ModelError(f"the model {name!r} has a {kind} where flow matching is expected", code="model-shape")
    if flows or ("beta_schedule" not in scheduler and scheduler.get("trained_betas") is None):
        raise ModelError(f"the {kind} of the model {name!r} has no betas to train with", code="model-shape")
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction == "epsilon" or prediction == "v_prediction":
        return prediction
    raise ModelError(
        f"the model {name!r} predicts {prediction!r}",
        code="prediction-type",
        hint="models that predict epsilon or v_prediction can be trained",
    )


def _conditioning(family: Family, configs: Mapping[str, dict[str, Any]]) -> dict[str, tuple[int, ...]]:
    tokens = configs["text_encoder"]["max_position_embeddings"]
    width = sum(_width(configs[part]) for part in ("text_encoder", "text_encoder_2") if part in configs)
    shapes: dict[str, tuple[int, ...]] = {"states": (tokens, width)}
    if family != "sd":
        shapes["pooled"] = (_pooled(family, configs),)
    if "text_encoder_3" in configs:
        shapes["t5"] = (T5_TOKENS, _width(configs["text_encoder_3"]))
    return shapes


def _pooled(family: Family, configs: Mapping[str, dict[str, Any]]) -> int:
    """SDXL has the second encoder's alone, SD3 both."""
    parts = ("text_encoder_2",) if family == "sdxl" else ("text_encoder", "text_encoder_2")
    return sum(int(configs[part].get("projection_dim", 512)) for part in parts if part in configs)


def _width(config: Mapping[str, Any]) -> int:
    return int(config.get("hidden_size") or config["d_model"])


def _latent_channels(vae: Mapping[str, Any]) -> int:
    return int(vae.get("latent_channels", 4))


def _parameters(family: Family, configs: Mapping[str, dict[str, Any]]) -> dict[str, int]:
    import torch

    with torch.device("meta"):
        texts = [_meta_text(config) for part, config in configs.items() if part.startswith("text_encoder")]
    return {
        "denoiser": _count(meta_denoiser(family, configs[_DENOISER[family]])),
        "vae": _count(meta_vae(configs["vae"])),
        "text": sum(_count(text) for text in texts),
    }


def _meta_text(config: Mapping[str, Any]) -> Any:
    import transformers

    if config["model_type"] == "t5":
        return transformers.T5EncoderModel(transformers.T5Config(**config))
    settings = transformers.CLIPTextConfig(**config)
    projects = "CLIPTextModelWithProjection" in config.get("architectures", [])
    return (transformers.CLIPTextModelWithProjection if projects else transformers.CLIPTextModel)(settings)


def _count(module: Any) -> int:
    return sum(math.prod(parameter.shape) for parameter in module.parameters())
