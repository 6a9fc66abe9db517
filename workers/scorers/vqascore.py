"""VQAScore (Lin et al. 2024): how likely CLIP-FlanT5 answers "Yes" when asked whether a picture shows its prompt.

The picture comes from the view `views.padded`, the system message from the authors' wheel (`wording`). The encoder's
text and the answer go through T5, whose half precision is bfloat16: float16 overflows in its feed-forward layers.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, T5Config
from transformers.models.t5.modeling_t5 import T5Stack

from workers.scorers.base import Batch, Floats, ScoreBatch, ScorerSpec
from workers.scorers.joint import Joint
from workers.scorers.lean import empty, fill, named_state
from workers.scorers.pixels import clip_pixels
from workers.scorers.runtime import Runtime
from workers.scorers.weights import WeightsError
from workers.scorers.wording import constants

PAD, END = 0, 1
LONGEST = 2048
"""Tokens of a question, its picture counted as one; what is longer loses its end, as in the authors' code."""
_TOWER = "vision_tower.vision_tower.vision_model."
_ITEMS_AT_ONCE = 32
"""About 20,000 tokens; attention's scores of one layer then take 1.7 GB in half precision."""


def vqascore(spec: ScorerSpec, runtime: Runtime) -> ScoreBatch:
    """exp(−mean cross-entropy of the answer's tokens), of each item by itself: 0 to 1, float32. "Yes" is two tokens, a
    word and the end, so that this is the geometric mean of their two probabilities.

    Options: `text` and `vision` (sizes, as transformers' configurations name them), `tokens` (how many the tokenizer
    has: rows of the embedding and of the output layer beyond them are not read), `question` with {} for the prompt,
    and `answer`. The last layer and the softmax are float32 whatever the tower's precision.
    """
    system = constants(spec.path(".whl"), "t2v_metrics/constants.py", ("SYSTEM_MSG",))["SYSTEM_MSG"]
    questions = Questions(spec.path("/tokenizer.json"), system=system, question=spec.option("question"))
    answer = torch.tensor(questions.answer(spec.option("answer")), device=runtime.device)
    model = loaded(spec, runtime.device)

    def judge(pictures: Sequence[torch.Tensor], prompts: Sequence[str]) -> torch.Tensor:
        return model.likelihood(pictures, questions.head, [questions.tail(prompt) for prompt in prompts], answer)

    joint = Joint(model.see, judge, runtime, at_once=_ITEMS_AT_ONCE)

    def score(batch: Batch) -> Floats:
        return joint(batch, batch.view(spec.views[0]))

    return score


class ClipT5(nn.Module):
    """CLIP-FlanT5: CLIP's vision tower but for its last layer, two projecting layers, and T5 around one embedding."""

    def __init__(self, text: T5Config, vision: CLIPVisionConfig) -> None:
        super().__init__()
        self.vision = CLIPVisionModel(vision)
        self.vision.post_layernorm = nn.Identity()
        self.projector = nn.Sequential(
            nn.Linear(vision.hidden_size, text.d_model), nn.GELU(), nn.Linear(text.d_model, text.d_model)
        )
        encoder, decoder = copy.deepcopy(text), copy.deepcopy(text)
        encoder.is_decoder, encoder.use_cache = False, False
        decoder.is_decoder, decoder.use_cache, decoder.num_layers = True, False, text.num_decoder_layers
        self.shared = nn.Embedding(text.vocab_size, text.d_model)
        self.encoder, self.decoder = T5Stack(encoder), T5Stack(decoder)
        self.encoder.embed_tokens = self.decoder.embed_tokens = None
        self.lm_head = nn.Linear(text.d_model, text.vocab_size, bias=False)

    def see(self, pictures: Sequence[torch.Tensor]) -> torch.Tensor:
        """The tokens (n, patches, d_model) of uint8 pictures (side, side, 3), each the projection of a patch as the
        layer before CLIP's last one has it."""
        pixels = clip_pixels(torch.stack(list(pictures)))
        states = self.vision(pixels.to(self.shared.weight.dtype)).last_hidden_state
        return self.projector(states[:, 1:])

    def likelihood(
        self,
        pictures: Sequence[torch.Tensor],
        head: Sequence[int],
        tails: Sequence[Sequence[int]],
        answer: torch.Tensor,
    ) -> torch.Tensor:
        """exp of the mean log-probability of the ids `answer`, (n,) in float32, after each picture's tokens between the
        ids `head` and its own ids of `tails`. Padding lies to the right; it is masked wherever it stands."""
        longest = max(len(tail) for tail in tails)
        after = torch.full((len(tails), longest), PAD, dtype=torch.long)
        for place, tail in enumerate(tails):
            after[place, : len(tail)] = torch.tensor(tail)
        device = answer.device
        seen = torch.stack(list(pictures))
        before = self.shared(torch.tensor(head, device=device)).expand(len(tails), -1, -1)
        inputs = torch.cat([before, seen, self.shared(after.to(device))], dim=1)
        mask = torch.ones(inputs.shape[:2], dtype=torch.long, device=device)
        mask[:, -longest:] = after.to(device) != PAD
        encoded = self.encoder(inputs_embeds=inputs, attention_mask=mask).last_hidden_state
        given = self.shared(torch.cat([answer.new_tensor([PAD]), answer[:-1]])).expand(len(tails), -1, -1)
        decoded = self.decoder(
            inputs_embeds=given, encoder_hidden_states=encoded, encoder_attention_mask=mask
        ).last_hidden_state
        logs = self.lm_head(decoded.float()).log_softmax(-1)
        return logs.gather(2, answer.expand(len(tails), -1)[:, :, None]).mean((1, 2)).exp()


class Questions:
    """The authors' chat about a picture, as token ids before and after it.

    Both parts are tokenized by themselves, so that `</s>` stands right before the picture, where the model has learnt
    to find it. `<image>` in a prompt is plain text, where the authors' code looks for a second picture and fails or
    takes another item's; T5's own tokens in a prompt ("</s>", "<pad>") are tokens, as they are there.
    """

    def __init__(self, tokenizer: Path, *, system: str, question: str) -> None:
        self._tokenizer = sentencepiece(tokenizer)
        self._question = question
        self.head = self.answer(f"{system} USER: ")

    def tail(self, prompt: str) -> list[int]:
        """The ids after the picture, up to `</s>`."""
        ids = self.answer(f"\n{self._question.format(prompt)} ASSISTANT: ")
        return ids[: LONGEST - len(self.head) - 1]

    def answer(self, text: str) -> list[int]:
        """The ids of a text by itself, with `</s>` at its end."""
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids


def sentencepiece(file: Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json with sentencepiece's own rules for spaces, which are what the authors' code
    runs: none at a text's end, one between words. Such a file has the words and the map of characters, but by the
    version that wrote it other rules; some make a token of the space that ends our text before the picture.
    WeightsError for a file whose texts do not end with `</s>`, id 1."""
    written = json.loads(file.read_text("utf-8"))
    rules = written["normalizer"] or {}
    characters = [rule for rule in rules.get("normalizers", [rules]) if rule.get("type") == "Precompiled"]
    spaces = [
        {"type": "Replace", "pattern": {"Regex": " +\\z"}, "content": ""},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"},
    ]
    written["normalizer"] = {"type": "Sequence", "normalizers": characters + spaces}
    written["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    tokenizer = Tokenizer.from_str(json.dumps(written))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if tokenizer.encode("").ids != [END]:
        raise WeightsError(f"{file} is no tokenizer of T5: its texts do not end with </s>", code="weights-unreadable")
    return tokenizer


def published_name(name: str, *, last: int) -> str | None:
    """Our name of a tensor of CLIP-FlanT5's files; None for copies of the one embedding, for layer `last` of CLIP's
    vision tower and what follows it, and for the positions that older files of CLIP carry."""
    copies = ("embed_tokens.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    behind = (f"{_TOWER}encoder.layers.{last}.", f"{_TOWER}post_layernorm.", f"{_TOWER}embeddings.position_ids")
    if name in copies or name.startswith(behind):
        return None
    return name.replace(_TOWER, "vision.").replace("mm_projector.", "projector.")


def built(spec: ScorerSpec) -> ClipT5:
    """The model of a spec on the meta device, in its precision, the output layer in float32."""
    text = T5Config(**dict(spec.option("text")), vocab_size=spec.option("tokens"), feed_forward_proj="gated-gelu")
    sizes = dict(spec.option("vision"))
    sizes["num_hidden_layers"] -= 1
    vision = CLIPVisionConfig(**sizes, hidden_act="quick_gelu")
    model = empty(lambda: ClipT5(text, vision), spec.precision)
    model.lm_head.float()
    model.vision.embeddings.position_ids = torch.arange(model.vision.embeddings.num_positions).expand(1, -1)
    return model


def loaded(spec: ScorerSpec, device: str) -> ClipT5:
    """The model with the tensors of all of the spec's files of weights, on a device."""
    last = dict(spec.option("vision"))["num_hidden_layers"] - 1
    files = [asset.name for asset in spec.assets if asset.name.endswith((".bin", ".safetensors"))]
    paths = {name: spec.path(name) for name in files}
    state = named_state(paths, lambda name: published_name(name, last=last))
    for name in ("shared.weight", "lm_head.weight"):
        if name in state:
            state[name] = state[name][: spec.option("tokens")]
    return fill(built(spec), state, what=", ".join(files), device=device)
