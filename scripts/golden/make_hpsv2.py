"""Writes tests/workers/scorers/golden/hpsv2.json with the authors' code: the wheel of hpsv2 1.2.0, its own model,
preprocessing and tokenizer.

Run from the repository's root in an environment with torch, torchvision, ftfy, regex and huggingface_hub:

    PYTHONPATH=. python scripts/golden/make_hpsv2.py hpsv2-1.2.0-py3-none-any.whl bpe_simple_vocab_16e6.txt.gz

The vocabulary is missing from the wheel; OpenAI's CLIP and open_clip ship it. Only numbers are written.
"""

import json
import shutil
import sys
import types
import zipfile
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tests.workers.hard_prompts import PROMPTS
from tests.workers.tiny_clip import CONFIG, SIDE, noisy_state, pictures

OUT = Path(__file__).parents[2] / "tests/workers/scorers/golden/hpsv2.json"


def main(wheel: str, vocabulary: str) -> None:
    with TemporaryDirectory() as folder:
        zipfile.ZipFile(wheel).extractall(folder)
        shutil.copy(vocabulary, Path(folder) / "hpsv2/src/open_clip/bpe_simple_vocab_16e6.txt.gz")
        # The package itself fetches and prints on import; its vendored open_clip is what is needed.
        package = types.ModuleType("hpsv2")
        package.__path__ = [f"{folder}/hpsv2"]
        turtle = types.ModuleType("turtle")  # imported for a name that is never used, and needs a display
        turtle.forward = None
        sys.modules |= {"hpsv2": package, "turtle": turtle}
        from hpsv2.src.open_clip import CLIP, get_tokenizer, image_transform

        model = CLIP(**CONFIG).eval()
        state = noisy_state(model)
        model.load_state_dict(state)
        preprocess = image_transform(SIDE, is_train=False)
        ids = get_tokenizer("ViT-H-14")(PROMPTS)
        with torch.no_grad():
            pixels = torch.stack([preprocess(picture) for picture in pictures()])
            seen = model.encode_image(pixels, normalize=True)
            read = model.encode_text(ids, normalize=True)
    golden = {
        "made_by": f"hpsv2 1.2.0 (PyPI), torch {version('torch')}, torchvision {version('torchvision')}",
        "scores": (seen @ read.T).tolist(),
        "ids": [row[: int(row.argmax()) + 1].tolist() for row in ids],
        "keys": {key: list(value.shape) for key, value in state.items()},
    }
    OUT.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
