"""From names to folders: what is not there is told before anything is spent, and the hub is asked for a commit."""

import json
import shutil
import struct
from pathlib import Path

import pytest

from training.models.load import load_model
from training.models.sources import ModelError, locate


def checkpoint(path: Path, *tensors: str) -> Path:
    header = json.dumps({name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for name in tensors}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


@pytest.mark.parametrize(
    ("tensor", "pipeline"),
    [
        ("model.diffusion_model.input_blocks.0.0.weight", "StableDiffusionPipeline"),
        ("conditioner.embedders.0.transformer.weight", "StableDiffusionXLPipeline"),
        ("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "StableDiffusion3Pipeline"),
    ],
)
def test_a_single_file_checkpoint_is_answered_with_the_line_that_converts_it(
    tensor: str, pipeline: str, tmp_path: Path
) -> None:
    path = checkpoint(tmp_path / "v1-5-pruned.safetensors", tensor)
    with pytest.raises(ModelError, match="is one file") as refused:
        locate(str(path))
    assert f"from diffusers import {pipeline} as P" in refused.value.hint
    assert "v1-5-pruned" in refused.value.hint


def test_pickled_and_foreign_files_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"\x80\x02")
    with pytest.raises(ModelError, match="pickled files are not opened"):
        locate(str(tmp_path / "model.ckpt"))
    with pytest.raises(ModelError, match="holds none that is known here"):
        locate(str(checkpoint(tmp_path / "lora.safetensors", "lora_unet_down.weight")))
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    with pytest.raises(ModelError, match="holds none that is known here"):
        locate(str(tmp_path / "cut.safetensors"))


@pytest.mark.parametrize("name", ["nowhere", "/nowhere/at/all", "./nowhere/model", "a/b/c", "org/model.safetensors"])
def test_what_is_neither_a_folder_nor_a_hub_name_is_not_looked_for_on_the_network(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def called(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", called)
    with pytest.raises(ModelError, match="is not there"):
        locate(name)


def test_a_hub_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody listens
    with pytest.raises(ModelError, match="'org/model' is no folder here and cannot be fetched: the hub") as refused:
        load_model("org/model", device="cpu")
    assert "\n" not in str(refused.value)


def test_a_model_that_was_fetched_is_loaded_at_its_commit_where_the_hub_is_out_of_reach(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, cache = "0123456789abcdef0123456789abcdef01234567", tmp_path / "models--org--model"
    shutil.copytree(folders["tiny_sdxl"], cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for name in ("org/model", "org/model@main", f"org/model@{commit}"):
        model = load_model(name, device="cpu")
        assert (model.family, model.description.commit) == ("sdxl", commit)
    with pytest.raises(ModelError, match="cannot be fetched"):
        load_model("org/model@v2", device="cpu")
