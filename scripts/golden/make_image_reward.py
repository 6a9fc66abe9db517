"""Writes what ImageReward's own code gives for a tiny model of noise, for tests/workers/scorers/test_image_reward.py.

Runs in an environment of its own, with torch, torchvision, what transformers needs, and without further dependencies
    image-reward==1.5 transformers==4.27.4 tokenizers==0.13.3 timm==0.6.13 huggingface-hub==0.13.4
Two imports of the package are not met: `clip`, which its other scores read, so the modules are loaded without the
package's __init__; and fairscale, of which it takes one name for its training.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "workers")]

import tiny_blip as tiny  # noqa: E402
import torch  # noqa: E402
from transformers import BertTokenizer  # noqa: E402

GOLDEN = ROOT / "tests" / "workers" / "scorers" / "golden" / "image_reward.json"


def main() -> None:
    package = authors()
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = Path(folder) / "vocab.txt"
        vocabulary.write_text("\n".join(tiny.VOCABULARY) + "\n", encoding="utf-8")
        tokenizer = BertTokenizer(str(vocabulary))
        pretrain = sys.modules[f"{package}.models.BLIP.blip_pretrain"]
        tokenizer.add_special_tokens({"bos_token": "[DEC]"})
        tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
        pretrain.init_tokenizer = lambda: tokenizer
        pretrain.create_vit = lambda *_: (vision_transformer(package), tiny.TINY["vision_width"])
        med = Path(folder) / "med_config.json"
        med.write_text(json.dumps(med_config()))
        reward, similarity = models(package, str(med))
    numbers = golden(reward, similarity, tokenizer)
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps({"made_with": versions(), **numbers}, indent=1, ensure_ascii=True) + "\n")


def authors() -> str:
    """The package's modules without its __init__, which imports what other scores and the training need."""
    for name in ("fairscale", "fairscale.nn", "fairscale.nn.checkpoint"):
        sys.modules[name] = ModuleType(name)
    stub = ModuleType("fairscale.nn.checkpoint.checkpoint_activations")
    stub.checkpoint_wrapper = None  # type: ignore[attr-defined]
    sys.modules[stub.__name__] = stub
    found = importlib.util.find_spec("ImageReward")
    assert found is not None and found.submodule_search_locations is not None
    for name in ("", ".models"):
        module = ModuleType(f"ImageReward{name}")
        module.__path__ = [str(Path(found.submodule_search_locations[0], *name.split(".")))]
        sys.modules[module.__name__] = module
    for name in ("ImageReward.ImageReward", "ImageReward.models.BLIPScore"):
        importlib.import_module(name)
    return "ImageReward"


def vision_transformer(package: str) -> torch.nn.Module:
    shape = tiny.TINY
    made: torch.nn.Module = sys.modules[f"{package}.models.BLIP.vit"].VisionTransformer(
        img_size=shape["image_size"],
        patch_size=shape["patch_size"],
        embed_dim=shape["vision_width"],
        depth=shape["vision_layers"],
        num_heads=shape["vision_heads"],
        drop_path_rate=0.1,
    )
    return made


def med_config() -> dict[str, Any]:
    shape = tiny.TINY
    return {
        "hidden_size": shape["text_width"],
        "num_hidden_layers": shape["text_layers"],
        "num_attention_heads": shape["text_heads"],
        "intermediate_size": shape["text_hidden"],
        "vocab_size": shape["vocabulary"],
        "max_position_embeddings": shape["positions"],
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "add_cross_attention": True,
    }


def models(package: str, med: str) -> tuple[Any, Any]:
    """ImageReward and BLIPScore with every parameter overwritten by the noise of its name."""
    reward_code, similarity_code = sys.modules[f"{package}.ImageReward"], sys.modules[f"{package}.models.BLIPScore"]
    reward = reward_code.ImageReward(med)
    reward.mlp = reward_code.MLP(tiny.TINY["text_width"])
    similarity = similarity_code.BLIPScore(med)
    for model, target, layout in (
        (reward, reward, tiny.reward_layout(tiny.TINY)),
        (similarity, similarity.blip, tiny.pretrain_layout(tiny.TINY)),
    ):
        state = {key: torch.from_numpy(value) for key, value in tiny.tiny_parameters(layout).items()}
        told = target.load_state_dict(state, strict=False)
        assert not told.missing_keys, told
        assert model is similarity or not told.unexpected_keys, told
        model.preprocess = reward_code._transform(tiny.TINY["image_size"])
        model.eval()
    return reward, similarity


@torch.no_grad()
def golden(reward: Any, similarity: Any, tokenizer: Any) -> dict[str, Any]:
    """Scores by the packages' own `score`, and what lies between."""
    rewards, cosines, tokens, seen = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number, picture in enumerate(tiny.pictures()):
            path = f"{folder}/{number}.png"
            picture.save(path)
            rewards.append([reward.score(prompt, picture) for prompt in tiny.PROMPTS])
            cosines.append([similarity.score(prompt, path) for prompt in tiny.PROMPTS])
            seen.append(reward.blip.visual_encoder(reward.preprocess(picture)[None])[0].tolist())
    for text in tiny.NASTY + tiny.PROMPTS:
        tokens.append(tokenizer(text, padding="max_length", truncation=True, max_length=35).input_ids)
    return {"rewards": rewards, "cosines": cosines, "seen": rounded(seen[1]), "ids": tokens}


def rounded(values: Any) -> Any:
    if isinstance(values, list):
        return [rounded(value) for value in values]
    return float(f"{values:.8g}")


def versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("torch", "torchvision", "transformers", "tokenizers", "timm")
    return {"image-reward": "1.5", **{name: version(name) for name in names}}


if __name__ == "__main__":
    main()
