"""Diffusion-SDPO's safeguard: how much of a loser's gradient passes."""

import torch

from training.losses.safeguard import loser_scale


def scales(
    winner: list[float], loser: list[float], mu: float, slopes: tuple[float, float] = (1.0, -1.0)
) -> list[float]:
    """λ of winner and loser of one pair, by their predictions of a target of zeros."""
    prediction = torch.tensor([winner, loser]).view(2, 1, 1, -1)
    return loser_scale(prediction, torch.zeros_like(prediction), torch.tensor(slopes), mu=mu).tolist()


def test_a_loser_that_pulls_against_its_winner_is_held_back_by_hand() -> None:
    # ‖d‖² = 5, ⟨d, e⟩ = 10: λ = (1 − 0.2) · 5 / 10
    assert scales([1, 2], [2, 4], mu=0.2) == [1.0, torch.tensor(0.4).item()]


def test_a_loser_that_helps_or_pulls_little_is_left_alone() -> None:
    assert scales([1, 2], [-2, -4], mu=0.9) == [1, 1]
    assert scales([1, 0], [0, 3], mu=1.0) == [1, 1]
    assert scales([3, 0], [1, 0], mu=0.5) == [1, 1]  # 0.5 · 9 / 3 is above 1


def test_with_mu_of_one_an_opposed_loser_is_left_out() -> None:
    assert scales([1, 2], [2, 4], mu=1.0) == [1, 0]


def test_losses_that_pull_the_loser_less_than_the_winner_may_keep_more_of_it() -> None:
    # a = 2, b = 1: λ = (1 − 0.2) · 2 · 5 / (1 · 10)
    assert scales([1, 2], [2, 4], mu=0.2, slopes=(2.0, -1.0)) == [1.0, torch.tensor(0.8).item()]


def test_where_the_label_is_turned_round_the_winner_is_what_is_held_back() -> None:
    assert scales([2, 4], [1, 2], mu=0.2, slopes=(-1.0, 1.0)) == [torch.tensor(0.4).item(), 1.0]
    assert scales([2, 4], [1, 2], mu=1.0, slopes=(1.0, 1.0)) == [1, 1], "nothing is unlearnt"
    assert scales([2, 4], [1, 2], mu=1.0, slopes=(0.0, 0.0)) == [1, 1]


def test_each_pair_has_a_scale_of_its_own_and_half_precision_is_no_matter() -> None:
    prediction = torch.tensor([[1.0, 2.0], [1.0, 2.0], [2.0, 4.0], [-2.0, -4.0]], dtype=torch.bfloat16).view(4, 1, 1, 2)
    slopes = torch.tensor([1.0, 1.0, -1.0, -1.0])
    found = loser_scale(prediction, torch.zeros_like(prediction), slopes, mu=0.2)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor([1.0, 1.0, 0.4, 1.0]))


def test_the_winners_error_falls_at_least_by_mu_of_what_its_own_gradient_would_do() -> None:
    # Outputs of winner and loser that move together, as one bias shared by both would move them.
    generator = torch.Generator().manual_seed(0)
    rate = 1e-4
    for mu in (0.0, 0.5, 0.9):
        away = torch.randn(128, 1, 2, 3, generator=generator)
        away[64:] = away[:64] + 0.5 * away[64:]  # losers' errors are mostly those of their winners
        slopes = torch.cat([torch.rand(64, generator=generator), -3 * torch.rand(64, generator=generator)])
        scale = loser_scale(away, torch.zeros_like(away), slopes, mu=mu)

        def fall(weights: torch.Tensor, away: torch.Tensor = away) -> torch.Tensor:
            """By how much a step along these slopes lowers each winner's squared error."""
            winner = away[:64]
            step = (weights.view(-1, 1, 1, 1) * away).chunk(2)
            moved = winner - rate * (step[0] + step[1])
            return (winner.square() - moved.square()).flatten(1).sum(1)

        alone = fall(torch.cat([slopes[:64], torch.zeros(64)]))
        assert (fall(slopes * scale) >= mu * alone - 1e-6).all()
        assert (fall(slopes) < mu * alone - 1e-5).any(), "without it some winners would be unlearnt"
