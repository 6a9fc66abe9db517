"""The usual way to score pairs: each scorer by its authors' published helper, pair by pair and image by image, with
nothing shared. Written after those helpers' descriptions; what they do at each call is done at each call here."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import open_clip
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torchvision import transforms

from benchmarks.suite import _MLP, Pair, clip_config, hf_model
from workers.scorers.base import ScorerSpec
from workers.scorers.blip import BlipShape, WordPieces, text_tower, vision_key, vision_tower
from workers.scorers.layouts import built

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

ScorePair = Callable[[Pair], list[float]]


def usual_seconds(spec: ScorerSpec, pairs: Sequence[Pair], device: str = "cpu") -> float:
    """Seconds that the usual way takes for some pairs, its model loaded before and gone afterwards."""
    score = helper(spec, device)
    with torch.no_grad():
        started = time.perf_counter()
        for pair in pairs:
            score(pair)
        _wait(device)
        seconds = time.perf_counter() - started
    del score
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    return seconds


def helper(spec: ScorerSpec, device: str) -> ScorePair:
    """The authors' helper of a scorer, its model loaded: called with a pair it gives the scores that theirs prints."""
    return _HELPERS[spec.name](spec, device)


def _clip(spec: ScorerSpec, device: str) -> ScorePair:
    """OpenAI's and open_clip's README: one image, one prompt, both towers."""
    model = _open_clip(spec, device, half=device != "cpu")  # clip.load gives halves on a GPU
    tokenize = open_clip.get_tokenizer(spec.option("architecture"))

    def score(pair: Pair) -> list[float]:
        scores = []
        for path in pair.images:
            image = _preprocess(Image.open(path))[None].to(device, model.logit_scale.dtype)
            seen = model.encode_image(image, normalize=True)
            said = model.encode_text(tokenize([pair.prompt]).to(device), normalize=True)
            scores.append(float((seen @ said.T).float()))
        return scores

    return score


def _aesthetic(spec: ScorerSpec, device: str) -> ScorePair:
    """LAION's simple_inference.py: its own CLIP, one image, five layers."""
    model = _open_clip(spec, device, half=device != "cpu")
    widths = (clip_config(spec)["embed_dim"], *_MLP)
    linear = [nn.Linear(read, write) for read, write in zip(widths, _MLP, strict=False)]
    a, b, c, d, e = linear
    head = nn.Sequential(a, nn.Dropout(0.2), b, nn.Dropout(0.2), c, nn.Dropout(0.1), d, e)
    state = torch.load(spec.path("linearMSE.pth"), weights_only=True)
    head.load_state_dict({key.removeprefix("layers."): value for key, value in state.items()})
    head = head.to(device).eval()

    def score(pair: Pair) -> list[float]:
        scores = []
        for path in pair.images:
            image = _preprocess(Image.open(path))[None].to(device, model.logit_scale.dtype)
            seen = model.encode_image(image)
            scores.append(float(head(nn.functional.normalize(seen.float(), dim=-1))))
        return scores

    return score


def _pickscore(spec: ScorerSpec, device: str) -> ScorePair:
    """PickScore's README: both images of a pair at once, the prompt again for each pair."""
    from transformers import CLIPImageProcessor, CLIPTokenizer

    with torch.device("meta"):
        model: Any = hf_model(spec)
    model.load_state_dict(load_file(spec.path("model.safetensors")), assign=True)
    _positions(model)
    model = model.to(device).eval()
    size = clip_config(spec)["vision_cfg"]["image_size"]
    processor = CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    import json

    merges = spec.path("merges.txt").read_text("utf-8").splitlines()[1:]
    tokenizer = CLIPTokenizer(
        vocab=json.loads(spec.path("vocab.json").read_text("utf-8")), merges=[tuple(line.split()) for line in merges]
    )

    def score(pair: Pair) -> list[float]:
        images = [Image.open(path).convert("RGB") for path in pair.images]
        pixels = processor(images=images, return_tensors="pt")["pixel_values"].to(device)
        words = tokenizer([pair.prompt], padding=True, truncation=True, max_length=77, return_tensors="pt").to(device)
        seen = nn.functional.normalize(model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)
        said = nn.functional.normalize(model.get_text_features(**words).pooler_output, dim=-1)
        scores = model.logit_scale.exp() * (said @ seen.T)[0]
        return [float(each) for each in torch.softmax(scores, -1)]

    return score


def _hps(spec: ScorerSpec, device: str) -> ScorePair:
    """hpsv2.score: the checkpoint is read into the model at each call, images go one by one with the prompt."""
    model = _open_clip(spec, device, state=None)
    tokenize = open_clip.get_tokenizer(spec.option("architecture"))
    size = clip_config(spec)["vision_cfg"]["image_size"]
    resize = transforms.Resize(size, transforms.InterpolationMode.BICUBIC, antialias=True)
    seen_as = transforms.Compose(
        [transforms.ToTensor(), resize, transforms.CenterCrop(size), transforms.Normalize(_MEAN, _STD)]
    )

    def score(pair: Pair) -> list[float]:
        checkpoint = torch.load(spec.path(".pt"), map_location=device, weights_only=True)
        model.load_state_dict(checkpoint["state_dict"])
        scores = []
        for path in pair.images:
            image = seen_as(Image.open(path).convert("RGB"))[None].to(device)
            with _autocast(device):
                seen = model.encode_image(image, normalize=True)
                said = model.encode_text(tokenize([pair.prompt]).to(device), normalize=True)
                scores.append(float(torch.diagonal(seen @ said.T)))
        return scores

    return score


def _image_reward(spec: ScorerSpec, device: str) -> ScorePair:
    """ImageReward's inference_rank: images one by one, the prompt padded to 35 pieces with each."""
    shape = BlipShape.of(spec)
    state = torch.load(spec.path("ImageReward.pt"), weights_only=True)
    vision, text = vision_tower(shape), text_tower(shape, looks=True)
    seen_keys = {key: value for key, value in state.items() if key.startswith("blip.visual_encoder.")}
    vision.load_state_dict(
        {vision_key(key.removeprefix("blip.visual_encoder.")): value for key, value in seen_keys.items()}, assign=True
    )
    read_keys = {key.removeprefix("blip.text_encoder."): value for key, value in state.items() if "text_encoder" in key}
    positions = read_keys.pop("embeddings.position_ids")
    text.load_state_dict(read_keys, assign=True)
    text.embeddings.position_ids = positions
    widths = (shape.text_width, *_MLP)
    a, b, c, d, e = (nn.Linear(read, write) for read, write in zip(widths, _MLP, strict=False))
    head = nn.Sequential(a, nn.Dropout(0.2), b, nn.Dropout(0.2), c, nn.Dropout(0.1), d, e)
    head.load_state_dict(
        {key.removeprefix("mlp.layers."): value for key, value in state.items() if key.startswith("mlp.")}
    )
    vision, text, head = (part.to(device).eval() for part in (vision, text, head))
    pieces = WordPieces(spec.path("vocab.txt"), size=shape.vocabulary)

    def score(pair: Pair) -> list[float]:
        ids = torch.zeros(1, 35, dtype=torch.int64)
        (found,) = pieces([pair.prompt])
        ids[0, : len(found)] = torch.as_tensor(list(found))
        mask = (torch.arange(35) < len(found))[None].long()
        scores = []
        for path in pair.images:
            image = _preprocess(Image.open(path), shape.image_size)[None].to(device)
            seen = vision(pixel_values=image).last_hidden_state
            states = text(
                input_ids=ids.to(device), attention_mask=mask.to(device), encoder_hidden_states=seen
            ).last_hidden_state
            scores.append((float(head(states[:, 0])) - 0.16717362830052426) / 1.0333394966054072)
        return scores

    return score


_HELPERS: dict[str, Callable[[ScorerSpec, str], ScorePair]] = {
    "clip-l14": _clip,
    "aesthetic-v2": _aesthetic,
    "pickscore-v1": _pickscore,
    "hpsv2.1": _hps,
    "imagereward-v1": _image_reward,
}


def _open_clip(spec: ScorerSpec, device: str, *, half: bool = False, state: str | None = "safetensors") -> Any:
    model = built(clip_config(spec))
    if state is None:
        model = model.to_empty(device="cpu")
    else:
        model.load_state_dict(load_file(spec.path("open_clip_model.safetensors")), assign=True)
    # What was built without memory has no mask either.
    model.attn_mask = torch.full_like(model.attn_mask, float("-inf"), device="cpu").triu_(1)
    model = model.to(device).eval()
    return model.half() if half else model


def _positions(model: Any) -> None:
    for part in (model.text_model.embeddings, model.vision_model.embeddings):
        part.position_ids = torch.arange(part.position_embedding.num_embeddings)[None]


def _preprocess(image: Image.Image, size: int = 224) -> torch.Tensor:
    steps = [
        transforms.Resize(size, transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(size),
        lambda picture: picture.convert("RGB"),
        transforms.ToTensor(),
        transforms.Normalize(_MEAN, _STD),
    ]
    tensor: torch.Tensor = transforms.Compose(steps)(image)
    return tensor


def _autocast(device: str) -> AbstractContextManager[object]:
    return torch.autocast("cuda") if device.startswith("cuda") else nullcontext()


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
