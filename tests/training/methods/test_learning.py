"""Every method on a problem small enough to be solved: it learns pairs' order, and the safeguard keeps winners."""

import copy
from functools import partial

import pytest
import torch
import toy_pairs as toy
from toy_pairs import Network

from training.methods.objective import make_objective
from training.methods.options import METHODS, Dpo, Dspo, Hinge, Ipo, Kto, Mapo, Method, RobustDpo, Rpo, Sft

_JUDGE = make_objective(Dpo(beta=200))
_EASY = partial(toy.batch, 32, apart=1.0)
_ALIKE = partial(toy.batch, 32, apart=0.3)


@pytest.fixture(scope="module")
def reference() -> Network:
    return toy.pretrained(steps=250)


def judged(policy: Network, reference: Network, *, apart: float) -> tuple[float, float, float]:
    """On 512 fresh pairs: implicit accuracy, and by how much the errors of winners and of losers changed."""
    with torch.no_grad():
        passes = toy.passes(_JUDGE, policy, reference, toy.batch(512, 5, apart=apart))
        assert passes.reference is not None
        winners, losers = (passes.policy - passes.reference).view(2, -1).mean(1).tolist()
        return _JUDGE.loss(passes).implicit_accuracy, winners, losers


METHODS_HERE: dict[str, Method] = {
    "sft": Sft(),
    "dpo": Dpo(beta=50),
    "dpo-conservative": Dpo(beta=50, label_smoothing=0.1),
    "dpo-poly": Dpo(beta=50, poly=8),
    "dpo-smpo": Dpo(beta=50, smpo=1.0),
    "robust-dpo": RobustDpo(beta=50, flip_rate=0.1),
    "ipo": Ipo(beta=50),
    "hinge": Hinge(beta=50),
    "mapo": Mapo(),
    "kto": Kto(beta=50),
    "dspo": Dspo(),
    "rpo": Rpo(beta=50),
    "rpo-rescaled": Rpo(beta=50, rescale=True),
}


@pytest.mark.parametrize("name", METHODS_HERE)
def test_every_method_learns_which_image_is_better(name: str, reference: Network) -> None:
    policy = toy.tuned(make_objective(METHODS_HERE[name]), reference, steps=50, pairs=_EASY)
    accuracy, winners, losers = judged(policy, reference, apart=1.0)
    assert accuracy > 0.85
    assert losers > winners


def test_no_method_is_left_out_above() -> None:
    assert {method.name for method in METHODS_HERE.values()} == set(METHODS)


@pytest.mark.parametrize("name", ["dpo", "dpo-poly", "robust-dpo", "hinge", "rpo"])
def test_issue_17_both_errors_grow_on_pairs_that_are_alike_and_the_safeguard_keeps_winners(
    name: str, reference: Network
) -> None:
    method = METHODS_HERE[name]
    accuracy, winners, losers = judged(
        toy.tuned(make_objective(method), reference, steps=50, pairs=_ALIKE), reference, apart=0.3
    )
    assert accuracy > 0.9, "as far as the loss can see all is well"
    assert losers > winners > 0.1, "but the model has become worse at both"
    guarded = make_objective(method.model_copy(update={"safeguard": 0.9}))
    accuracy, winners, _ = judged(toy.tuned(guarded, reference, steps=50, pairs=_ALIKE), reference, apart=0.3)
    assert winners < -0.01
    assert accuracy > 0.6


def test_at_its_published_beta_dspo_is_fine_tuning_on_winners(reference: Network) -> None:
    def weights(method: Method) -> torch.Tensor:
        policy = toy.tuned(make_objective(method), reference, steps=20, pairs=_EASY)
        return torch.cat([weight.flatten() for weight in policy.parameters()])

    begin = torch.cat([weight.flatten() for weight in reference.parameters()])
    apart = (weights(Dspo(beta=0.001)) - weights(Sft())).norm() / (weights(Sft()) - begin).norm()
    assert apart < 0.02


def test_ties_teach_nothing_to_robust_dpo_and_smpo(reference: Network) -> None:
    even = toy.batch(8, 3)
    even = toy.Batch(**{**vars(even), "preference": torch.full((8,), 0.5)})
    moved = copy.deepcopy(reference)
    with torch.no_grad():
        for weight in moved.parameters():
            weight.add_(0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    for method in (RobustDpo(), Dpo(smpo=10.0)):
        objective = make_objective(method)
        objective.loss(toy.passes(objective, moved, reference, even)).loss.backward()
        assert all((weight.grad == 0).all() for weight in moved.parameters() if weight.grad is not None)
