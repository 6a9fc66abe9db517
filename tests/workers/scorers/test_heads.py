"""LAION's aesthetic heads as one affine map, against their layers one after the other."""

import numpy as np
import pytest
import torch

from tests.workers.noise import noise
from workers.scorers.heads import affine_head
from workers.scorers.weights import WeightsError

PLACES = {0: (1024, 768), 2: (128, 1024), 4: (64, 128), 6: (16, 64), 7: (1, 16)}


def laion_v2(scale: float = 0.15) -> dict[str, torch.Tensor]:
    """The published layout of sac+logos+ava1-l14-linearMSE.pth, of noise."""
    state = {}
    for place, shape in PLACES.items():
        state[f"layers.{place}.weight"] = torch.from_numpy(noise(f"w{place}", shape, scale=scale))
        state[f"layers.{place}.bias"] = torch.from_numpy(noise(f"b{place}", shape[:1], scale=1.0))
    return state


def embeddings() -> torch.Tensor:
    rows = torch.from_numpy(noise("embeddings", (9, 768), scale=1.0))
    return rows / rows.norm(dim=1, keepdim=True)


def layered(state: dict[str, torch.Tensor], activation: torch.nn.Module | None = None) -> torch.nn.Sequential:
    """christophschuhmann/improved-aesthetic-predictor's MLP in evaluation, where dropouts do nothing."""
    layers: list[torch.nn.Module] = []
    for place, (out, into) in PLACES.items():
        linear = torch.nn.Linear(into, out)
        linear.load_state_dict({kind: state[f"layers.{place}.{kind}"] for kind in ("weight", "bias")})
        layers += [linear] if activation is None or place == 7 else [linear, activation]
    return torch.nn.Sequential(*layers)


def test_the_five_layers_are_one_affine_map() -> None:
    state = laion_v2()
    assert sum(value.numel() for value in state.values()) == 927_969
    with torch.no_grad():
        exact = layered(state).double()(embeddings().double())[:, 0]
        stepwise = layered(state)(embeddings())[:, 0]
    head = affine_head(state)
    assert head.weight.dtype == torch.float32
    assert head.weight.shape == (768,)
    assert float(exact.std()) > 0.1
    collapsed = head(embeddings())
    np.testing.assert_allclose(collapsed, exact, rtol=0, atol=1e-6)
    # One rounding to float32 at the end is no worse than five layers of float32.
    assert (collapsed - exact).abs().max() <= (stepwise - exact).abs().max() + 1e-7


def test_an_activation_between_the_layers_would_be_noticed() -> None:
    # The file ava+logos-l14-reluMSE.pth has the same keys: only its hash tells it apart.
    state = laion_v2()
    with torch.no_grad():
        other = layered(state, torch.nn.ReLU())(embeddings())[:, 0]
    assert (affine_head(state)(embeddings()) - other).abs().min() > 1e-3


def test_an_unnormalised_embedding_would_be_noticed() -> None:
    state = laion_v2()
    head = affine_head(state)
    assert (head(embeddings() * 20) - head(embeddings())).abs().max() > 0.1


def test_a_single_layer_is_that_layer() -> None:
    weight, bias = torch.from_numpy(noise("w", (1, 768))), torch.from_numpy(noise("b", (1,)))
    linear = torch.nn.Linear(768, 1)
    linear.load_state_dict({"weight": weight, "bias": bias})
    with torch.no_grad():
        expected = linear(embeddings())[:, 0]
    np.testing.assert_allclose(affine_head({"weight": weight, "bias": bias})(embeddings()), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"weight": torch.ones(1, 4)}, "its keys are weight"),
        ({"weight": torch.ones(2, 4), "bias": torch.ones(2)}, "it gives .* numbers, not one"),
        ({f"layers.{n}.{kind}": torch.ones(1) for n in (0, 2, 4, 6, 8) for kind in ("weight", "bias")}, "its keys are"),
        (laion_v2() | {"layers.4.weight": torch.ones(64, 127)}, "do not follow on each other"),
        (laion_v2() | {"epoch": torch.ones(1)}, "its keys are epoch"),
    ],
)
def test_other_heads_are_refused(state: dict[str, torch.Tensor], told: str) -> None:
    with pytest.raises(WeightsError, match=told):
        affine_head(state)
