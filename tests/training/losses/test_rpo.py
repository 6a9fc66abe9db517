"""Diffusion-RPO: the weights and the loss by hand, and the limits it must have whatever its authors' choices were."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from training.losses.dpo import diffusion_dpo
from training.losses.rpo import Combine, Normalise, combined, contrastive_weights, diffusion_rpo

POLICY = torch.tensor([0.08, 0.12, 0.21, 0.19])
REFERENCE = torch.tensor([0.10, 0.10, 0.20, 0.20])
# At β = 200: −100 · (p − r) is 2, −2 for winners and −1, 1 for losers; z_ij = row − column.
LOGITS = torch.tensor([[3.0, 1.0], [-1.0, -3.0]])


def random_features(pairs: int, seed: int = 0) -> Tensor:
    """Pairs whose two images share their prompt and are close to each other."""
    generator = torch.Generator().manual_seed(seed)
    image, text = (normalize(torch.randn(pairs, 16, generator=generator), dim=1) for _ in range(2))
    return torch.stack([image, text], dim=1).repeat(2, 1, 1)


def random_errors(pairs: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    reference = 0.1 + 0.1 * torch.rand(2 * pairs, generator=generator)
    return reference + 0.01 * torch.randn(2 * pairs, generator=generator), reference


def test_two_pairs_by_hand() -> None:
    # Unit vectors: each pair's images alike, the two pairs at right angles: d is 0 on the diagonal and 1 beside it.
    features = torch.eye(2)[:, None, :].expand(2, 2, 2).repeat(2, 1, 1)
    near = 1 / (1 + math.exp(-1 / 0.5))  # softmax of (0, −1) / ½
    weights = torch.tensor([[near, 1 - near], [1 - near, near]])
    expected = torch.log1p(torch.exp(-weights * LOGITS))
    found = diffusion_rpo(POLICY, REFERENCE, features, beta=200, temperature=0.5)
    assert found.loss.item() == pytest.approx(expected.mean().item(), abs=1e-4)
    torch.testing.assert_close(found.losses, expected.mean(1), rtol=1e-4, atol=1e-4)
    assert found.logit is not None
    torch.testing.assert_close(found.logit, torch.tensor([3.0, -3.0]), rtol=1e-4, atol=1e-4)


def test_one_pair_is_dpo() -> None:
    policy, reference = random_errors(1)
    options = {"normalise": "all", "average": "rows", "diagonal": 0.3}
    for extra in ({}, options):
        found = diffusion_rpo(policy, reference, random_features(1), beta=500, temperature=0.1, **extra)
        assert found.loss == diffusion_dpo(policy, reference, beta=500).loss


def test_a_temperature_towards_zero_leaves_dpo_and_ln_2_for_each_other_comparison() -> None:
    policy, reference = random_errors(4)
    found = diffusion_rpo(policy, reference, random_features(4), beta=500, temperature=1e-4).loss.item()
    alone = diffusion_dpo(policy, reference, beta=500).loss.item()
    assert found == pytest.approx((alone + 3 * math.log(2)) / 4, abs=1e-6)


def test_a_temperature_towards_infinity_weighs_all_alike() -> None:
    policy, reference = random_errors(4)
    gained = (policy - reference).view(2, 4)
    logits = -250 * (gained[0][:, None] - gained[1][None, :])
    found = diffusion_rpo(policy, reference, random_features(4), beta=500, temperature=1e6)
    assert found.loss.item() == pytest.approx(torch.log1p(torch.exp(-logits / 4)).mean().item(), abs=1e-5)
    rescaled = diffusion_rpo(policy, reference, random_features(4), beta=500, temperature=1e6, rescale=True)
    assert rescaled.loss.item() == pytest.approx(torch.log1p(torch.exp(-logits)).mean().item(), abs=1e-4)


@pytest.mark.parametrize("normalise", ["rows", "both", "all"])
def test_weights_are_not_negative_and_of_mean_one_over_n(normalise: Normalise) -> None:
    vectors = combined(random_features(5, seed=1), "sum")
    other = combined(random_features(5, seed=2), "sum")
    weights = contrastive_weights(vectors[:5], other[:5], temperature=0.2, normalise=normalise)
    assert weights.shape == (5, 5)
    assert (weights >= 0).all()
    assert weights.sum().item() == pytest.approx(5, abs=1e-5)
    rows = contrastive_weights(vectors[:5], other[:5], temperature=0.2, normalise="rows")
    columns = contrastive_weights(other[:5], vectors[:5], temperature=0.2, normalise="rows").T
    torch.testing.assert_close(rows.sum(1), torch.ones(5))
    if normalise == "both":
        torch.testing.assert_close(weights, (rows + columns) / 2)


def test_the_weights_are_constants_of_the_loss() -> None:
    policy, reference = random_errors(3)
    features = random_features(3).requires_grad_()
    policy.requires_grad_()
    diffusion_rpo(policy, reference, features, beta=500, temperature=0.1).loss.backward()
    assert features.grad is None
    assert policy.grad is not None


@pytest.mark.parametrize(
    ("how", "cosine"),
    [
        # Images at 60°, prompts at right angles: (1, 0, 0) with (0, 1, 0), and (½, ½, √½) with (0, 0, 1).
        ("image", 0.5),
        ("text", 0.0),
        ("concat", 0.25),
        # (1, 1, 0) · (½, ½, √½ + 1), over √2 · √(½ + (√½ + 1)²)
        ("sum", 1 / math.sqrt(2) / math.sqrt(0.5 + (math.sqrt(0.5) + 1) ** 2)),
    ],
)
def test_vectors_of_image_and_prompt_are_put_together(how: Combine, cosine: float) -> None:
    first = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    second = torch.tensor([[0.5, 0.5, math.sqrt(0.5)], [0.0, 0.0, 1.0]])
    vectors = combined(torch.stack([first, second]), how)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    assert (vectors[0] @ vectors[1]).item() == pytest.approx(cosine, abs=1e-6)


def test_pairs_of_one_prompt_whose_prompt_alone_counts_weigh_alike() -> None:
    features = random_features(2)
    features[:, 1] = features[0, 1]
    vectors = combined(features, "text")
    weights = contrastive_weights(vectors[:2], vectors[2:], temperature=0.1, normalise="rows")
    torch.testing.assert_close(weights, torch.full((2, 2), 0.5))


def test_the_sum_over_rows_is_n_times_the_mean_over_all() -> None:
    policy, reference = random_errors(4)
    given = {"beta": 500, "temperature": 0.1}
    mean = diffusion_rpo(policy, reference, random_features(4), **given)
    rows = diffusion_rpo(policy, reference, random_features(4), average="rows", **given)
    torch.testing.assert_close(rows.losses, 4 * mean.losses)


def test_the_diagonals_share_is_what_was_asked_for() -> None:
    features = torch.eye(2)[:, None, :].expand(2, 2, 2).repeat(2, 1, 1)
    far = 1e6  # both weights ½
    losses = torch.log1p(torch.exp(-LOGITS / 2))
    for share in (0.0, 0.7, 1.0):
        found = diffusion_rpo(POLICY, REFERENCE, features, beta=200, temperature=far, diagonal=share)
        expected = share * losses.diagonal().mean() + (1 - share) * (losses[0, 1] + losses[1, 0]) / 2
        assert found.loss.item() == pytest.approx(expected.item(), abs=1e-4)


def test_a_comparison_has_the_mean_of_its_pairs_labels_and_the_geometric_mean_of_their_weights() -> None:
    features = torch.eye(2)[:, None, :].expand(2, 2, 2).repeat(2, 1, 1)
    preference, weight = torch.tensor([1.0, 0.6]), torch.tensor([0.5, 1.5])
    right = torch.tensor([[1.0, 0.8], [0.8, 0.6]])
    weights = torch.tensor([[0.5, math.sqrt(0.75)], [math.sqrt(0.75), 1.5]])
    straight, crossed = torch.log1p(torch.exp(-LOGITS / 2)), torch.log1p(torch.exp(LOGITS / 2))
    expected = (weights * (right * straight + (1 - right) * crossed)).mean()
    found = diffusion_rpo(POLICY, REFERENCE, features, beta=200, temperature=1e6, preference=preference, weight=weight)
    assert found.loss.item() == pytest.approx(expected.item(), abs=1e-4)


def test_a_pair_of_weight_zero_has_no_part_in_any_comparison() -> None:
    """What cannot be read any more stands in a batch as grey: with the mean of two weights it would be compared all the
    same, at half the weight of the others."""
    policy, reference = random_errors(3)
    policy.requires_grad_()
    given = {"beta": 500, "temperature": 0.1, "weight": torch.tensor([1.0, 0.0, 2.0])}
    diffusion_rpo(policy, reference, random_features(3), **given).loss.backward()
    assert policy.grad is not None
    assert [bool(each) for each in policy.grad] == [True, False, True] * 2


def test_a_winner_is_weighed_by_what_the_losers_show_and_a_loser_by_what_winners_do() -> None:
    # Winners' images (1, 0) and (0, 1), both losers' (1, 0): the first winner has two of its kind, the second none.
    image = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    features = torch.stack([image, torch.zeros(4, 2)], dim=1)
    # Over both losers of each winner the distances are equal, so all rows are (½, ½), whatever the temperature …
    rows = diffusion_rpo(POLICY, REFERENCE, features, beta=200, temperature=0.5, combine="image")
    torch.testing.assert_close(rows.losses, torch.log1p(torch.exp(-LOGITS / 2)).mean(1), rtol=1e-4, atol=1e-4)
    # … and over all four they are e⁰ in the first row and e⁻² in the second, times two over their sum.
    near = 1 / (1 + math.exp(-2))
    weights = torch.tensor([[near, near], [1 - near, 1 - near]])
    every = diffusion_rpo(POLICY, REFERENCE, features, beta=200, temperature=0.5, combine="image", normalise="all")
    torch.testing.assert_close(every.losses, torch.log1p(torch.exp(-weights * LOGITS)).mean(1), rtol=1e-4, atol=1e-4)


def test_the_order_of_pairs_is_no_matter_and_swapping_sides_negates_the_logits() -> None:
    policy, reference = random_errors(3)
    features = random_features(3)
    given = {"beta": 500, "temperature": 0.1}
    found = diffusion_rpo(policy, reference, features, **given)
    order = torch.tensor([2, 0, 1, 5, 3, 4])
    mixed = diffusion_rpo(policy[order], reference[order], features[order], **given)
    assert mixed.loss.item() == pytest.approx(found.loss.item(), abs=1e-6)
    sides = torch.tensor([3, 4, 5, 0, 1, 2])
    crossed = diffusion_rpo(policy[sides], reference[sides], features[sides], **given)
    assert found.logit is not None
    assert crossed.logit is not None
    torch.testing.assert_close(crossed.logit, -found.logit)


def test_at_the_reference_every_comparison_costs_ln_2() -> None:
    _, reference = random_errors(4)
    found = diffusion_rpo(reference, reference.clone(), random_features(4), beta=5000, temperature=0.1)
    assert found.loss.item() == pytest.approx(math.log(2))
    assert found.implicit_accuracy == 0.5
