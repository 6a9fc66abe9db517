"""Writes tests/workers/scorers/golden/vqascore.json with the authors' code: t2v_metrics 3.0 on transformers 4.49.0.

Run from the repository's root in an environment of its own that has both, sentencepiece, torch, Pillow and numpy:

    PYTHONPATH=.:tests/workers python scripts/golden/make_vqascore.py t2v_metrics-3.0-py3-none-any.whl

Their tokenizer is sentencepiece itself ("use_fast=False"); here it is a tiny one, trained on our own prompts, and the
golden file holds it as a tokenizer.json beside the ids it gave. The package's own __init__ files, which import every
model of theirs, are passed over, and cv2 need not be there. Only numbers are written. The real wording, too, is
compared with what the product reads from the wheel.
"""

import hashlib
import importlib.util
import json
import sys
import tempfile
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import sentencepiece
import tiny_vlm
import torch
import transformers
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel, T5Tokenizer
from transformers.convert_slow_tokenizer import convert_slow_tokenizer

from workers.scorers.wording import constants

ROOT = Path(__file__).parents[2]
WORDS = {
    "t2v_metrics/constants.py": ("SYSTEM_MSG",),
    "t2v_metrics/models/vqascore_models/clip_t5_model.py": ("default_question_template", "default_answer_template"),
}


def authors_code():
    """The authors' module of the CLIP-T5 scorers."""
    root = Path(importlib.util.find_spec("t2v_metrics").origin).parent
    folders = {"": root, ".models": root / "models", ".models.vqascore_models": root / "models" / "vqascore_models"}
    for name, folder in folders.items():
        package = types.ModuleType(f"t2v_metrics{name}")
        package.__path__ = [str(folder)]
        sys.modules[package.__name__] = package
    sys.modules["cv2"] = types.ModuleType("cv2")
    sys.modules["cv2"].__spec__ = ModuleSpec("cv2", None)
    import t2v_metrics.models.vqascore_models.clip_t5_model as module

    return module


def check_our_reading(wheel: Path, module: types.ModuleType) -> None:
    """The product reads from the wheel what the authors' code runs with."""
    for member, names in WORDS.items():
        for name, value in constants(wheel, member, names).items():
            assert value == getattr(module, name), name


def tiny_sentencepiece(longest: int) -> tuple[T5Tokenizer, dict]:
    """A unigram model of 76 pieces in T5's form, which makes spaces of tabs, line ends and wide spaces; and as JSON."""
    question = 'Does this figure show "Yes"? Please answer yes or no. USER: ASSISTANT: abcdefghijklmnopqrstuvwxyz'
    with tempfile.TemporaryDirectory() as folder:
        text, rules, prefix = (Path(folder) / name for name in ("text.txt", "rules.tsv", "spiece"))
        text.write_text("\n".join([*tiny_vlm.PROMPTS, tiny_vlm.SYSTEM, question] * 20))
        rules.write_text("".join(f"{code}\t{to}\n" for code, to in tiny_vlm.RULES))
        sentencepiece.SentencePieceTrainer.train(
            input=str(text),
            model_prefix=str(prefix),
            normalization_rule_tsv=str(rules),
            **{"vocab_size": 76, "model_type": "unigram", "character_coverage": 1.0, "num_threads": 1},
            **{"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "minloglevel": 2},
        )
        tokenizer = T5Tokenizer(f"{prefix}.model", extra_ids=100, model_max_length=longest)
        return tokenizer, json.loads(convert_slow_tokenizer(tokenizer).to_str())


def main(wheel: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = authors_code()
    check_our_reading(wheel, module)
    module.SYSTEM_MSG = tiny_vlm.SYSTEM

    tokenizer, written = tiny_sentencepiece(module.CONTEXT_LEN)
    scorer = object.__new__(module.CLIPT5Model)
    scorer.tokenizer, scorer.device = tokenizer, "cpu"
    scorer.image_aspect_ratio, scorer.conversational_style = "pad", "t5_chat"
    pictures = dict(enumerate(tiny_vlm.pictures()))
    scorer.image_loader = lambda name: pictures[int(name)]
    names = [str(place) for place in pictures]

    with tempfile.TemporaryDirectory() as folder:
        side = tiny_vlm.CLIP["image_size"]
        CLIPVisionModel(CLIPVisionConfig(**tiny_vlm.CLIP)).save_pretrained(folder)
        CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side}).save_pretrained(
            folder
        )
        config = module.CLIPT5ForConditionalGeneration.config_class(
            **tiny_vlm.T5,
            vocab_size=tiny_vlm.T5_ROWS,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
            decoder_start_token_id=0,
            mm_vision_tower=folder,
            mm_hidden_size=tiny_vlm.CLIP["hidden_size"],
            mm_projector_type="mlp2x_gelu",
            mm_vision_select_layer=-2,
            mm_vision_select_feature="patch",
        )
        model = module.CLIPT5ForConditionalGeneration(config).eval()
        scorer.image_processor = model.get_vision_tower().image_processor
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(each) for name, each in tiny_vlm.tensors(shapes).items()})
    shared = torch.from_numpy(tiny_vlm.tensors({"shared.weight": shapes["shared.weight"]})["shared.weight"])
    model.shared.weight.data.copy_(shared)  # the one tensor behind four names
    model.resize_token_embeddings(len(tokenizer))  # as their load_pretrained_model does
    scorer.model = model

    with torch.no_grad():
        scores = scorer.forward(names, tiny_vlm.PROMPTS)
        alone = torch.cat([scorer.forward([name], [text]) for name, text in zip(names, tiny_vlm.PROMPTS, strict=True)])
        seen = scorer.load_images(names)
        with_tokens = scorer.forward(names[:1], [tiny_vlm.T5_TOKENS_IN_TEXT])
    print("batched − alone", (scores - alone).abs().max())  # noqa: T201
    questions = [
        module.format_question(module.default_question_template.format(text), "t5_chat") for text in tiny_vlm.PROMPTS
    ]
    golden = {
        "made_by": f"t2v_metrics 3.0 (PyPI), transformers {transformers.__version__}, torch {torch.__version__}",
        "tokenizer": written,
        "shapes": {name: list(shape) for name, shape in shapes.items()},
        "ids": [module.t5_tokenizer_image_token(question, tokenizer) for question in questions],
        "hard_ids": [tokenizer(text).input_ids for text in tiny_vlm.HARD_TEXTS],
        "labels": module.t5_tokenizer_image_token("Yes", tokenizer),
        "pixels_sha256": hashlib.sha256(seen.numpy().tobytes()).hexdigest(),
        "scores": scores.tolist(),
        "score_with_tokens_in_text": with_tokens.item(),
    }
    target = ROOT / "tests" / "workers" / "scorers" / "golden" / "vqascore.json"
    target.write_text(json.dumps(golden) + "\n")
    print(golden["scores"], golden["labels"], golden["ids"][0], len(tokenizer), len(json.dumps(golden)))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
