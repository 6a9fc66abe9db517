"""VQAScore against its authors' code (golden/vqascore.json, by scripts/golden/make_vqascore.py) on a tiny model of
noise, the mistakes that this would catch, and the full sizes against the published layouts."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_vlm
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from ranking.errors import UsageError
from workers.scorers import registry, vqascore
from workers.scorers.base import Batch, ScorerSpec
from workers.scorers.catalog.vlm import SPECS
from workers.scorers.pixels import clip_pixels
from workers.scorers.runtime import Runtime
from workers.scorers.views import padded
from workers.scorers.weights import Asset, WeightsError

GOLDEN = json.loads((Path(__file__).parent / "golden" / "vqascore.json").read_text())
SCORES = np.array(GOLDEN["scores"], np.float32)
SHAPES = {name: tuple(shape) for name, shape in GOLDEN["shapes"].items()}
FULL = {spec.name: spec for spec in SPECS if spec.name.startswith("vqascore")}
VIEW = padded(tiny_vlm.CLIP["image_size"])
TOKENS = len(GOLDEN["tokenizer"]["model"]["vocab"])
PICTURE = -200
"""What stands for a picture in the authors' ids."""
CLOSE = 3e-6
"""Relative; the authors' own scores move by 5e-7 with the company that an item keeps."""
COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "embed_tokens.weight")


def tensors() -> dict[str, torch.Tensor]:
    """The tiny model's, with one embedding under four names as the authors save it."""
    state = {name: torch.from_numpy(value) for name, value in tiny_vlm.tensors(SHAPES).items()}
    return state | dict.fromkeys(COPIES, state["shared.weight"])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ScorerSpec:
    """CLIP-FlanT5 in small, in the files in which the large ones are published."""
    folder = tmp_path_factory.mktemp("vqascore")
    torch.save(tensors(), folder / "pytorch_model.bin")
    tiny_vlm.write_json(folder / "tokenizer.json", GOLDEN["tokenizer"])
    words = f"SYSTEM_MSG = {tiny_vlm.SYSTEM!r}\n"
    tiny_vlm.write_wheel(folder / "t2v_metrics-3.0-py3-none-any.whl", "t2v_metrics/constants.py", words)
    large = FULL["vqascore"]
    return replace(
        large,
        name="vqascore-tiny",
        views=(VIEW,),
        precision="float32",
        assets=tuple(Asset(f"tiny/{path.name}", path=path) for path in sorted(folder.iterdir())),
        options=(
            ("text", tuple(tiny_vlm.T5.items())),
            ("vision", tuple(tiny_vlm.CLIP.items())),
            ("tokens", TOKENS),
            ("question", large.option("question")),
            ("answer", large.option("answer")),
        ),
    )


@pytest.fixture(scope="module")
def batch() -> Batch:
    return Batch.of(tiny_vlm.pictures(), tiny_vlm.PROMPTS, [VIEW])


def questions(spec: ScorerSpec) -> vqascore.Questions:
    return vqascore.Questions(spec.path("/tokenizer.json"), system=tiny_vlm.SYSTEM, question=spec.option("question"))


def scored(spec: ScorerSpec, batch: Batch) -> np.ndarray:
    return vqascore.vqascore(spec, Runtime())(batch)


def apart(scores: np.ndarray) -> float:
    """The largest relative difference from the authors' scores."""
    return float(np.abs(scores / SCORES - 1).max())


def with_option(spec: ScorerSpec, name: str, value: object) -> ScorerSpec:
    return replace(spec, options=tuple({**dict(spec.options), name: value}.items()))


def changed(spec: ScorerSpec, option: str, **values: object) -> ScorerSpec:
    return with_option(spec, option, tuple({**dict(spec.option(option)), **values}.items()))


def test_scores_are_the_authors(tiny: ScorerSpec, batch: Batch) -> None:
    scores = scored(tiny, batch)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, SCORES, rtol=CLOSE)


def test_the_model_sees_the_pixels_of_the_authors_to_the_bit(batch: Batch) -> None:
    pixels = clip_pixels(torch.from_numpy(np.stack(batch.view(VIEW)))).contiguous()
    assert hashlib.sha256(pixels.numpy().tobytes()).hexdigest() == GOLDEN["pixels_sha256"]


def test_the_question_is_the_authors_token_by_token_with_an_end_before_the_picture(tiny: ScorerSpec) -> None:
    asked = questions(tiny)
    assert [[*asked.head, PICTURE, *asked.tail(prompt)] for prompt in tiny_vlm.PROMPTS] == GOLDEN["ids"]
    assert asked.head[-1] == vqascore.END
    assert asked.answer("Yes") == GOLDEN["labels"]


SPACES = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
COLLAPSED = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}


@pytest.mark.parametrize(
    ("rules", "before"),
    [
        ([], {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, SPACES]}),
        ([COLLAPSED], SPACES),
        ([], SPACES),
    ],
    ids=["transformers of 2020", "transformers of 2022", "nothing about spaces"],
)
def test_tokens_are_sentencepieces_whichever_converter_wrote_the_file(
    rules: list[object], before: object, tmp_path: Path
) -> None:
    characters = GOLDEN["tokenizer"]["normalizer"]["normalizers"][0]
    assert characters["type"] == "Precompiled"
    normalizer = {"type": "Sequence", "normalizers": [characters, *rules]} if rules else characters
    written = {**GOLDEN["tokenizer"], "normalizer": normalizer, "pre_tokenizer": before}
    ours = vqascore.sentencepiece(tiny_vlm.write_json(tmp_path / "tokenizer.json", written))
    assert [ours.encode(text).ids for text in tiny_vlm.HARD_TEXTS] == GOLDEN["hard_ids"]
    raw = Tokenizer.from_str(json.dumps(written))
    assert [raw.encode(text).ids for text in tiny_vlm.HARD_TEXTS] != GOLDEN["hard_ids"]


def test_a_tokenizer_that_ends_no_text_is_refused(tmp_path: Path) -> None:
    written = {**GOLDEN["tokenizer"], "post_processor": None}
    with pytest.raises(WeightsError, match="no tokenizer of T5"):
        vqascore.sentencepiece(tiny_vlm.write_json(tmp_path / "tokenizer.json", written))


WRONG_SIZES: dict[str, Callable[[ScorerSpec], ScorerSpec]] = {
    "the last layer of the vision tower": lambda spec: changed(spec, "vision", num_hidden_layers=5),
    "another number of heads in the vision tower": lambda spec: changed(spec, "vision", num_attention_heads=8),
    "another reach of relative positions": lambda spec: changed(spec, "text", relative_attention_max_distance=128),
    "another epsilon": lambda spec: changed(spec, "text", layer_norm_epsilon=1e-2),
    "words that the tokenizer has not": lambda spec: with_option(spec, "tokens", tiny_vlm.T5_ROWS),
    "another answer": lambda spec: with_option(spec, "answer", "No"),
    "another question": lambda spec: with_option(spec, "question", 'Does this image show "{}"?'),
}


@pytest.mark.parametrize("mistake", WRONG_SIZES.values(), ids=WRONG_SIZES)
def test_a_wrong_option_that_loads_all_the_same_is_found(
    mistake: Callable[[ScorerSpec], ScorerSpec], tiny: ScorerSpec, batch: Batch
) -> None:
    assert apart(scored(mistake(tiny), batch)) > 30 * CLOSE


def by_hand(
    spec: ScorerSpec, batch: Batch, *, head: list[int] | None = None, answer: list[int] | None = None
) -> np.ndarray:
    """The score with other ids before the picture, or for another answer."""
    model, asked = vqascore.loaded(spec, "cpu"), questions(spec)
    with torch.inference_mode():
        seen = list(model.see([torch.from_numpy(picture.copy()) for picture in batch.view(VIEW)]))
        tails = [asked.tail(prompt) for prompt in batch.prompts]
        wanted = torch.tensor(answer or GOLDEN["labels"])
        return model.likelihood(seen, asked.head if head is None else head, tails, wanted).numpy()


def test_neither_a_missing_end_nor_one_answer_token_nor_one_number_a_batch_would_do(
    tiny: ScorerSpec, batch: Batch
) -> None:
    np.testing.assert_allclose(by_hand(tiny, batch), SCORES, rtol=CLOSE)
    assert apart(by_hand(tiny, batch, head=questions(tiny).head[:-1])) > 30 * CLOSE
    assert apart(by_hand(tiny, batch, answer=GOLDEN["labels"][:1])) > 30 * CLOSE
    of_the_batch = np.exp(np.log(SCORES).mean())  # −mean cross-entropy over all labels at once
    assert np.abs(of_the_batch / SCORES - 1).min() > 30 * CLOSE
    assert apart(SCORES**2) > 30 * CLOSE  # the sum over both tokens in the place of their mean


def test_other_activations_are_found(tiny: ScorerSpec, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = vqascore.CLIPVisionConfig
    monkeypatch.setattr(vqascore, "CLIPVisionConfig", lambda **sizes: plain(**{**sizes, "hidden_act": "gelu"}))
    assert apart(by_hand(tiny, batch)) > 30 * CLOSE
    monkeypatch.undo()
    text = vqascore.T5Config
    with_relu = "gated-silu"
    monkeypatch.setattr(vqascore, "T5Config", lambda **sizes: text(**{**sizes, "feed_forward_proj": with_relu}))
    assert apart(by_hand(tiny, batch)) > 30 * CLOSE


def test_an_item_scores_the_same_alone_in_company_and_in_any_order(tiny: ScorerSpec) -> None:
    score = vqascore.vqascore(tiny, Runtime())
    pictures, prompts = tiny_vlm.pictures(), tiny_vlm.PROMPTS
    items = [(2, 0), (0, 1), (2, 1), (1, 1), (0, 0), (0, 2), (1, 0)]
    together = score(Batch.of([pictures[i] for i, _ in items], [prompts[j] for _, j in items], [VIEW]))
    back = score(Batch.of([pictures[i] for i, _ in items[::-1]], [prompts[j] for _, j in items[::-1]], [VIEW]))
    alone = [score(Batch.of([pictures[i]], [prompts[j]], [VIEW]))[0] for i, j in items]
    np.testing.assert_allclose(together, alone, rtol=CLOSE)
    np.testing.assert_allclose(back[::-1], alone, rtol=CLOSE)
    in_parts = vqascore.vqascore(tiny, Runtime(part=2))
    parts = in_parts(Batch.of([pictures[i] for i, _ in items], [prompts[j] for _, j in items], [VIEW]))
    np.testing.assert_allclose(parts, alone, rtol=CLOSE)


def test_a_distinct_picture_is_seen_once(tiny: ScorerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []
    see = vqascore.ClipT5.see
    monkeypatch.setattr(vqascore.ClipT5, "see", lambda model, some: (shown.append(len(some)), see(model, some))[1])
    score = vqascore.vqascore(tiny, Runtime(part=2))
    pictures, prompts = tiny_vlm.pictures(), tiny_vlm.PROMPTS
    images = [pictures[0], pictures[1], pictures[0], pictures[1], pictures[0], pictures[2]]
    score(Batch.of(images, [*prompts, *prompts], [VIEW]))
    assert sum(shown) == 3


@pytest.mark.parametrize("prompt", ["a <image> of a fox", "<image><image>"])
def test_the_word_for_a_picture_in_a_prompt_is_text_and_touches_no_other_item(tiny: ScorerSpec, prompt: str) -> None:
    pictures, (plain, *_) = tiny_vlm.pictures(), tiny_vlm.PROMPTS
    company = scored(tiny, Batch.of(pictures[:2], [prompt, plain], [VIEW]))
    alone = [
        scored(tiny, Batch.of([picture], [text], [VIEW]))[0]
        for picture, text in zip(pictures[:2], [prompt, plain], strict=True)
    ]
    np.testing.assert_allclose(company, alone, rtol=CLOSE)
    without = scored(tiny, Batch.of(pictures[:1], [prompt.replace("<image>", "")], [VIEW]))[0]
    assert abs(company[0] / without - 1) > 30 * CLOSE


def test_t5s_own_tokens_in_a_prompt_are_what_the_authors_take_them_for(tiny: ScorerSpec) -> None:
    odd = tiny_vlm.T5_TOKENS_IN_TEXT
    batch = Batch.of(tiny_vlm.pictures()[:2], [odd, tiny_vlm.PROMPTS[1]], [VIEW])
    np.testing.assert_allclose(scored(tiny, batch), [GOLDEN["score_with_tokens_in_text"], SCORES[1]], rtol=CLOSE)


def test_a_question_is_cut_to_what_the_authors_model_reads(tiny: ScorerSpec) -> None:
    asked = questions(tiny)
    ids = asked.tail("a fox " * 2000)
    assert len(asked.head) + 1 + len(ids) == 2048
    assert vqascore.END not in ids


def test_in_bfloat16_the_softmax_stays_exact_and_float16_is_refused(tiny: ScorerSpec, batch: Batch) -> None:
    half = vqascore.built(tiny.at("bf16"))
    kinds = {(name.split(".")[0], value.dtype) for name, value in half.named_parameters()}
    others = {(part, torch.bfloat16) for part in ("vision", "projector", "shared", "encoder", "decoder")}
    assert kinds == {*others, ("lm_head", torch.float32)}
    scores = scored(tiny.at("bf16"), batch)
    assert 0 < apart(scores) < 0.1
    refusal = "vqascore-tiny cannot run in fp16; take vqascore-tiny:fp32 or vqascore-tiny:bf16"
    with pytest.raises(UsageError, match=refusal):
        tiny.at("fp16")


def test_the_committee_scores_pictures_with_it_and_finds_it_again_by_its_id(
    tiny: ScorerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "specs", lambda: {tiny.name: tiny})
    committee = registry.load_committee([tiny.name], device="cpu")
    ((scorer_id, scores),) = committee.score_pictures(tiny_vlm.pictures(), tiny_vlm.PROMPTS).items()
    np.testing.assert_allclose(scores, SCORES, rtol=CLOSE)
    assert registry.choose(scorer_id).precision == "float32"
    assert registry.choose(tiny.at("bf16").scorer_id).precision == "bfloat16"
    with pytest.raises(WeightsError, match="other weights, options or code"):
        registry.choose(f"{tiny.name}@{'0' * 12}")


def test_files_in_several_parts_make_one_model(tiny: ScorerSpec, batch: Batch, tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in tensors().items()}
    names = sorted(state)
    middle = len(names) // 2
    save_file({name: state[name] for name in names[:middle]}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({name: state[name] for name in names[middle:]}, tmp_path / "model-00002-of-00002.safetensors")
    others = [asset for asset in tiny.assets if not asset.name.endswith(".bin")]
    parts = [Asset(f"tiny/{path.name}", path=path) for path in sorted(tmp_path.iterdir())]
    np.testing.assert_allclose(scored(replace(tiny, assets=(*parts, *others)), batch), SCORES, rtol=CLOSE)
    with pytest.raises(WeightsError, match=r"lacks .* and \d+ more"):
        scored(replace(tiny, assets=(parts[0], *others)), batch)
    torch.save({"lm_head.weight": state["lm_head.weight"]}, tmp_path / "again.bin")
    again = Asset("tiny/again.bin", path=tmp_path / "again.bin")
    with pytest.raises(WeightsError, match=r"again\.bin.*holds lm_head\.weight, which another file holds too"):
        scored(replace(tiny, assets=(*parts, again, *others)), batch)


def published_layout(wide: int, deep: int, heads: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of clip-flant5 of this width: flan-t5's with 32,128 rows, LLaVA's vision tower and projector."""
    inner, seen = 64 * heads, 1024
    attention = {f"{part}.weight": (inner, wide) for part in "qkv"} | {"o.weight": (wide, inner)}
    dense = {"wi_0.weight": (deep, wide), "wi_1.weight": (deep, wide), "wo.weight": (wide, deep)}
    norm = {"layer_norm.weight": (wide,)}
    within = {
        "encoder": [("SelfAttention", attention), ("DenseReluDense", dense)],
        "decoder": [("SelfAttention", attention), ("EncDecAttention", attention), ("DenseReluDense", dense)],
    }
    layout = dict.fromkeys(("shared.weight", "lm_head.weight", *COPIES), (32128, wide))
    for stack, parts in within.items():
        layout[f"{stack}.final_layer_norm.weight"] = (wide,)
        layout[f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (32, heads)
        for row in range(24):
            for place, (part, shapes) in enumerate(parts):
                at = f"{stack}.block.{row}.layer.{place}"
                layout |= {f"{at}.{part}.{name}": shape for name, shape in shapes.items()}
                layout |= {f"{at}.{name}": shape for name, shape in norm.items()}
    tower = "vision_tower.vision_tower.vision_model"
    layout |= {
        f"{tower}.embeddings.class_embedding": (seen,),
        f"{tower}.embeddings.patch_embedding.weight": (seen, 3, 14, 14),
        f"{tower}.embeddings.position_embedding.weight": (24 * 24 + 1, seen),
    }
    layers = {"mlp.fc1": (4 * seen, seen), "mlp.fc2": (seen, 4 * seen)}
    layers |= {f"self_attn.{part}_proj": (seen, seen) for part in ("q", "k", "v", "out")}
    for row in range(24):
        at = f"{tower}.encoder.layers.{row}"
        layout |= {f"{at}.{name}.weight": shape for name, shape in layers.items()}
        layout |= {f"{at}.{name}.bias": shape[:1] for name, shape in layers.items()}
        layout |= {f"{at}.layer_norm{n}.{part}": (seen,) for n in (1, 2) for part in ("weight", "bias")}
    layout |= {
        f"{tower}.{norm}.{part}": (seen,) for norm in ("pre_layrnorm", "post_layernorm") for part in ("weight", "bias")
    }
    for place, into in ((0, seen), (2, wide)):
        layout |= {f"mm_projector.{place}.weight": (wide, into), f"mm_projector.{place}.bias": (wide,)}
    return layout


@pytest.mark.parametrize(
    ("name", "sizes", "published"),
    [
        # Parameters of google/flan-t5-xl and -xxl by their cards.
        ("vqascore", (2048, 5120, 32), 2_849_757_184),
        ("vqascore-xxl", (4096, 10_240, 64), 11_135_332_352),
    ],
)
def test_the_full_models_have_the_published_names_and_shapes(
    name: str, sizes: tuple[int, int, int], published: int
) -> None:
    spec, layout = FULL[name], published_layout(*sizes)
    assert SHAPES.keys() == {each for each in layout if is_in_small(each)}
    language = [shape for each, shape in layout.items() if each not in COPIES and not each.startswith(("vis", "mm_"))]
    assert sum(int(np.prod(shape)) for shape in language) == published
    ours = {vqascore.published_name(each, last=23): shape for each, shape in layout.items()}
    del ours[None]
    rows = dict.fromkeys(("shared.weight", "lm_head.weight"), (32100, sizes[0]))
    model = vqascore.built(spec)
    assert {each: tuple(value.shape) for each, value in model.state_dict().items()} == ours | rows
    assert not [each for each, value in model.named_buffers() if value.is_meta]
    assert sum(parameter.numel() for parameter in model.parameters()) == spec.cost.parameters


def is_in_small(name: str) -> bool:
    row = re.search(r"^(encoder|decoder|vision).*?\.(?:block|layers)\.(\d+)\.", name)
    return row is None or int(row[2]) < {"encoder": 3, "decoder": 2, "vision": 4}[row[1]]


def test_what_shapes_do_not_tell_is_clips_and_t5s() -> None:
    vision = dict(FULL["vqascore"].option("vision"))
    assert (vision["num_attention_heads"], vision["image_size"], vision["patch_size"]) == (16, 336, 14)
    config = vqascore.T5Config()  # transformers' defaults are T5's own
    for spec in FULL.values():
        text = dict(spec.option("text"))
        for name in ("d_kv", "relative_attention_num_buckets", "relative_attention_max_distance", "layer_norm_epsilon"):
            assert text[name] == getattr(config, name)
        # CLIP's vision tower in full: 303,507,456 parameters; its last layer and norm are not read.
        assert vision["num_hidden_layers"] == 24
