"""What methods ask of the loop, and what they make of what it gives."""

import math
from dataclasses import fields, replace

import pytest
import torch
import toy_pairs as toy
from torch import Tensor, nn

from training.losses.dpo import diffusion_dpo
from training.losses.safeguard import loser_scale
from training.methods.needs import Needs, needs
from training.methods.objective import Objective, Passes, make_objective
from training.methods.options import METHODS, Dpo, Dspo, Hinge, Ipo, Kto, Mapo, Method, RobustDpo, Rpo, Sft

AT_THE_REFERENCE = {
    "dpo": math.log(2),
    "robust-dpo": math.log(2),
    "rpo": math.log(2),
    "ipo": 0.25,
    "hinge": 1.0,
    "kto": 0.5,
}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return toy.Network()


def given(method: Method, policy: nn.Module, reference: nn.Module, pairs: int = 6) -> tuple[Objective, Passes]:
    objective = make_objective(method)
    return objective, toy.passes(objective, policy, reference, toy.batch(pairs, 3))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_gets_along_with_what_it_asks_for_and_says_what_is_missing(name: str, network: nn.Module) -> None:
    objective, passes = given(METHODS[name](), network, network)
    outcome = objective.loss(passes)
    assert outcome.loss.isfinite()
    assert outcome.losses.shape == (6,)
    assert outcome.loss.item() == pytest.approx(outcome.losses.mean().item(), rel=1e-5)
    assert not outcome.losses.requires_grad
    assert (outcome.logit is None) == (name == "sft")
    for field in ("reference", "prediction", "reference_prediction", "features"):
        if getattr(passes, field) is not None:
            with pytest.raises(ValueError, match="the method needs"):
                objective.loss(replace(passes, **{field: None}))


@pytest.mark.parametrize(("name", "value"), AT_THE_REFERENCE.items())
def test_at_the_reference_a_loss_has_the_value_it_is_known_for(name: str, value: float, network: nn.Module) -> None:
    objective, passes = given(METHODS[name](), network, network)
    outcome = objective.loss(passes)
    assert outcome.loss.item() == pytest.approx(value)
    assert outcome.logit is not None
    assert outcome.logit.abs().max() < 1e-3
    assert outcome.implicit_accuracy == 0.5


@pytest.mark.parametrize(
    "method",
    [
        Dpo(beta=20),
        Dpo(beta=20, label_smoothing=0.1, poly=2.0),
        Dpo(beta=20, smpo=3.0),
        RobustDpo(beta=20, flip_rate=0.1),
        Ipo(beta=20),
        Hinge(beta=20),
        Mapo(),
        Kto(beta=20),
        Rpo(beta=20, normalise="both"),
        Rpo(beta=20, normalise="all", diagonal=0.4),
    ],
    ids=lambda method: method.name,
)
def test_a_pair_turned_round_with_its_label_costs_the_same_and_has_the_opposite_logit(
    method: Method, network: nn.Module
) -> None:
    torch.manual_seed(1)
    objective, passes = given(method, toy.Network(), network)
    preference = torch.tensor([1.0, 0.9, 0.6, 0.5, 0.3, 0.0])
    straight = objective.compare(replace(passes, preference=preference))

    def turned(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else torch.cat([tensor[6:], tensor[:6]])

    errors = turned(passes.policy)
    assert errors is not None
    crossed = objective.compare(
        replace(
            passes,
            policy=errors,
            reference=turned(passes.reference),
            features=turned(passes.features),
            preference=1 - preference,
        )
    )
    assert crossed.loss.item() == pytest.approx(straight.loss.item(), rel=1e-5)
    assert straight.logit is not None
    assert crossed.logit is not None
    torch.testing.assert_close(crossed.logit, -straight.logit)
    assert straight.logit.abs().min() > 1e-3


def test_options_reach_the_losses(network: nn.Module) -> None:
    policy = torch.tensor([0.08, 0.12, 0.21, 0.19])
    reference = torch.tensor([0.10, 0.10, 0.20, 0.20])
    labels = torch.tensor([0.9, 0.8])
    passes = Passes(policy, reference, labels, torch.tensor([0.5, 1.5]))
    method = Dpo(beta=300, label_smoothing=0.1, poly=2.0, smpo=3.0)
    expected = diffusion_dpo(
        policy,
        reference,
        beta=300,
        preference=labels,
        weight=torch.tensor([0.5, 1.5]),
        label_smoothing=0.1,
        poly=2.0,
        smpo=3.0,
    )
    assert make_objective(method).loss(passes).loss == expected.loss
    objective, whole = given(Rpo(temperature=0.5), network, network)
    assert objective.loss(whole).loss.item() == pytest.approx(math.log(2))


def test_what_is_needed_is_known_without_a_network() -> None:
    assert needs(Sft()) == Needs(reference=False, losers=False)
    assert needs(Dpo()) == Needs()
    assert needs(Dpo(safeguard=0.5)).predictions
    assert not needs(Mapo()).reference
    assert needs(Dspo()).reference_predictions
    assert needs(Rpo()).features
    assert [name for name, kind in METHODS.items() if needs(kind()).whole_step] == ["kto", "rpo"]
    for kind in METHODS.values():
        objective = make_objective(kind())
        assert all(getattr(objective, field.name) == getattr(needs(kind()), field.name) for field in fields(Needs))


def slopes_of(loss: Tensor, prediction: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss, prediction, retain_graph=True)
    return found


def test_the_safeguard_scales_the_losers_gradient_and_leaves_loss_and_winner_alone(network: nn.Module) -> None:
    torch.manual_seed(1)
    policy = toy.Network()
    _, passes = given(Dpo(beta=20), policy, network)
    guarded, needed = given(Dpo(beta=20, safeguard=0.9), policy, network)
    assert passes.prediction is None
    assert needed.prediction is not None
    assert needed.target is not None
    plain = make_objective(Dpo(beta=20)).loss(needed)
    held = guarded.loss(needed)
    assert held.loss.item() == pytest.approx(plain.loss.item(), rel=1e-6)
    before, after = slopes_of(plain.loss, needed.prediction), slopes_of(held.loss, needed.prediction)
    torch.testing.assert_close(after[:6], before[:6])
    # Both pull with the same slope in Diffusion-DPO, so λ is that of the published formula.
    signs = torch.tensor([1.0] * 6 + [-1.0] * 6)
    scale = loser_scale(needed.prediction, needed.target, signs, mu=0.9)[6:]
    assert (scale < 1).any()
    torch.testing.assert_close(after[6:], before[6:] * scale.view(-1, 1, 1, 1))


def test_the_safeguard_of_dspo_acts_on_the_way_through_the_logit(network: nn.Module) -> None:
    torch.manual_seed(1)
    policy = toy.Network()
    method = Dspo(beta=0.5, logit_beta=5.0)
    plain, passes = given(method, policy, network)
    guarded = make_objective(method.model_copy(update={"safeguard": 0.9}))
    assert passes.prediction is not None
    before = slopes_of(plain.loss(passes).loss, passes.prediction)
    after = slopes_of(guarded.loss(passes).loss, passes.prediction)
    torch.testing.assert_close(after[:6], before[:6])
    assert (after[6:].flatten(1).norm(dim=1) <= before[6:].flatten(1).norm(dim=1) + 1e-7).all()
    assert (after[6:] - before[6:]).norm() > 0.1 * before[6:].norm()


def test_fine_tuning_looks_at_no_losers(network: nn.Module) -> None:
    objective, passes = given(Sft(), network, network)
    assert passes.policy.shape == (6,)
    both = Passes(torch.cat([passes.policy, passes.policy + 9]), None, passes.preference, passes.weight)
    assert objective.loss(both).loss.item() == pytest.approx(objective.loss(passes).loss.item())


def test_the_kl_of_kto_is_that_of_all_that_it_is_given() -> None:
    reference = torch.full((12,), 0.2)
    gains = torch.tensor([0.01, 0.01, 0.01, 0.05, 0.05, 0.05]).repeat(2)
    ones = torch.ones(6)
    objective = make_objective(Kto(beta=100, undesirable=0))
    together = objective.loss(Passes(reference - gains, reference, ones, ones)).losses[:3]
    alone = objective.loss(Passes(reference[:6] - 0.01, reference[:6], ones[:3], ones[:3])).losses
    # Alone, the three winners are at their own mean gain: (1 − σ(0)) / 2. Among all, 0.02 below it: (1 − σ(−2)) / 2.
    torch.testing.assert_close(alone, torch.full((3,), 0.25))
    torch.testing.assert_close(together, torch.full((3,), 0.5 / (1 + math.exp(-2))), rtol=1e-4, atol=1e-4)
