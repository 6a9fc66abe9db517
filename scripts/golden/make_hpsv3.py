"""Writes tests/workers/scorers/golden/hpsv3.json with the authors' code: hpsv3 1.0.0 on transformers 4.45.2.

Run from the repository's root in an environment of its own that has both, torch, Pillow and numpy:

    PYTHONPATH=.:tests/workers python scripts/golden/make_hpsv3.py hpsv3-1.0.0-py3-none-any.whl

What the package imports for training only (deepspeed, trl, peft, datasets, …) need not be there. Only numbers are
written. The real wording, too, is compared with what the product reads from the wheel.
"""

import hashlib
import json
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import tiny_vlm
import torch
import transformers
from transformers import Qwen2TokenizerFast, Qwen2VLConfig, Qwen2VLImageProcessor, Qwen2VLProcessor

from workers.scorers.wording import constants

ROOT = Path(__file__).parents[2]
CHAT = (
    "{% for message in messages %}{% if loop.first %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}<|im_start|>{{ message['role'] }}\n{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""What Qwen2-VL's own chat template gives for one image and one text."""


class Absent(types.ModuleType):
    """A module of which only names are asked for."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def leave_out(*names: str) -> None:
    """Imports of these modules succeed and do nothing."""
    for name in names:
        module = Absent(name)
        module.__spec__, module.__path__ = ModuleSpec(name, None), []
        sys.modules[name] = module


def authors_code():
    """The authors' inference module and model class."""
    leave_out("matplotlib", "matplotlib.pyplot", "matplotlib.patches", "pandas", "datasets", "peft", "trl", "deepspeed")
    leave_out("torch.utils.tensorboard", "fire", "omegaconf", "hpsv3.model.differentiable_image_processor")
    leave_out("hpsv3.utils.training_utils", "hpsv3.dataset.pairwise_dataset")
    import hpsv3.inference as inference
    from hpsv3.model.qwen2vl_trainer import Qwen2VLRewardModelBT

    return inference, Qwen2VLRewardModelBT


def our_reading(wheel: Path) -> tuple[str, str]:
    """The wording as the product reads it from the wheel."""
    words = constants(wheel, "hpsv3/dataset/data_collator_qwen.py", ("INSTRUCTION", "prompt_with_special_token"))
    return words["INSTRUCTION"], words["prompt_with_special_token"]


def main(wheel: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    inference, reward_model = authors_code()
    assert our_reading(wheel) == (inference.INSTRUCTION, inference.prompt_with_special_token)
    inference.INSTRUCTION, inference.prompt_with_special_token = tiny_vlm.INSTRUCTION, tiny_vlm.REQUEST

    tokenizer = Qwen2TokenizerFast(tokenizer_object=tiny_vlm.qwen_tokenizer())
    tokenizer.padding_side = "right"
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|Reward|>"]})
    reward = tokenizer.convert_tokens_to_ids(["<|Reward|>"])
    image = Qwen2VLImageProcessor()
    processor = Qwen2VLProcessor(image_processor=image, tokenizer=tokenizer, chat_template=CHAT)

    text = dict(tiny_vlm.QWEN_TEXT)
    section = list(text.pop("mrope_section"))
    config = Qwen2VLConfig(
        **text,
        vocab_size=len(tokenizer),
        rope_scaling={"type": "mrope", "mrope_section": section},
        vision_config={**tiny_vlm.QWEN_VISION, "hidden_size": text["hidden_size"], "hidden_act": "quick_gelu"},
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="sdpa",
    )
    model = reward_model(config, output_dim=2, special_token_ids=reward, rm_head_type="ranknet").eval()
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    state = {name: torch.from_numpy(value) for name, value in tiny_vlm.tensors(shapes).items()}
    # Their create_model_and_processor moves the whole model to bfloat16, and with it the frequencies of both rotations,
    # which no file holds. What follows runs in float32 with those frequencies: only the rounding of sums is left out.
    model.to(torch.bfloat16)
    for name, parameter in model.named_parameters():
        parameter.data = state[name]
    assert {value.dtype for name, value in model.named_buffers() if name.endswith("inv_freq")} == {torch.bfloat16}

    inferencer = object.__new__(inference.HPSv3RewardInferencer)
    inferencer.model, inferencer.processor = model, processor
    inferencer.device, inferencer.use_special_tokens = "cpu", True
    with torch.no_grad():
        batch = inferencer.prepare_batch(tiny_vlm.pictures(), tiny_vlm.PROMPTS)
        rewards = inferencer.reward(tiny_vlm.pictures(), tiny_vlm.PROMPTS)
        alone = [
            inferencer.reward([picture], [prompt])
            for picture, prompt in zip(tiny_vlm.pictures(), tiny_vlm.PROMPTS, strict=True)
        ]
        with_tokens = inferencer.reward(tiny_vlm.pictures()[:1], [tiny_vlm.QWEN_TOKENS_IN_TEXT])
    print("batched − alone", (rewards - torch.cat(alone)).abs().max())  # noqa: T201
    ids = [row[mask.bool()].tolist() for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    golden = {
        "made_by": f"hpsv3 1.0.0 (PyPI), transformers {transformers.__version__}, torch {torch.__version__}",
        "shapes": {name: list(shape) for name, shape in shapes.items()},
        "ids": ids,
        "grids": batch["image_grid_thw"].tolist(),
        "patches_sha256": hashlib.sha256(batch["pixel_values"].numpy().tobytes()).hexdigest(),
        "patch_sums": batch["pixel_values"].double().sum(1)[::97].tolist(),
        "mu_sigma": rewards.tolist(),
        "mu_with_tokens_in_text": with_tokens[0, 0].item(),
    }
    target = ROOT / "tests" / "workers" / "scorers" / "golden" / "hpsv3.json"
    target.write_text(json.dumps(golden) + "\n")
    print(golden["mu_sigma"], {len(row) for row in ids}, len(json.dumps(golden)))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
