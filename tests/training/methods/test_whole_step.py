"""Losses over a whole step, taken in passes: the same gradient as in one piece."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import pytest
import torch
import toy_pairs as toy
from torch import Tensor, nn

from training.methods.objective import Objective, Passes, make_objective
from training.methods.options import Dpo, Kto, Mapo, Method, Rpo, Sft
from training.methods.whole_step import joined, parts

PAIRS = 12


@pytest.fixture(scope="module")
def networks() -> tuple[nn.Module, nn.Module]:
    """A policy that has gained on its reference, so that neither logits nor the KL are zero."""
    torch.manual_seed(0)
    reference = toy.Network()
    return toy.tuned(make_objective(Sft()), reference, steps=10, pairs=partial(toy.batch, 16)), reference


@pytest.fixture(scope="module")
def whole() -> toy.Batch:
    given = toy.batch(PAIRS, 7, apart=0.3)
    generator = torch.Generator().manual_seed(2)
    preference = 0.5 + 0.5 * torch.rand(PAIRS, generator=generator)
    weight = 0.5 + torch.rand(PAIRS, generator=generator)
    return toy.Batch(**{**vars(given), "preference": preference, "weight": weight})


def gradient(loss: Tensor, policy: nn.Module) -> Tensor:
    found = torch.autograd.grad(loss, list(policy.parameters()))
    return torch.cat([each.flatten() for each in found])


def in_passes(
    objective: Objective, policy: nn.Module, reference: nn.Module, given: toy.Batch, processes: Sequence[Sequence[int]]
) -> tuple[float, Tensor]:
    """Loss and summed gradient of a step whose processes take passes of these sizes."""
    edges = [0, *torch.tensor([size for sizes in processes for size in sizes]).cumsum(0).tolist()]
    cut = [given.at(slice(start, stop)) for start, stop in pairwise(edges)]
    with torch.no_grad():
        first = [toy.passes(objective, policy, reference, each) for each in cut]
    by_process, start = [], 0
    for sizes in processes:
        by_process.append(joined(first[start : start + len(sizes)]))
        start += len(sizes)
    outcome, slopes = objective.slopes(joined(by_process))
    total = torch.zeros(())
    own = parts(slopes, [len(each.weight) for each in by_process])
    shares = [share for part, sizes in zip(own, processes, strict=True) for share in parts(part, sizes)]
    for each, share in zip(cut, shares, strict=True):
        total = total + gradient(objective.carrier(toy.passes(objective, policy, reference, each), share), policy)
    return float(outcome.loss), total


@pytest.mark.parametrize(
    "method",
    [
        Rpo(beta=200),
        Rpo(beta=200, normalise="all", average="rows", diagonal=0.5, combine="text"),
        Rpo(beta=200, safeguard=0.8),
        Kto(beta=200),
        Kto(beta=200, safeguard=0.8),
        Dpo(beta=200, safeguard=0.8),
        Mapo(),
    ],
    ids=lambda method: f"{method.name}-{method.safeguard}",
)
@pytest.mark.parametrize("processes", [[[12]], [[5, 4, 3]], [[4, 2], [4, 2]], [[1] * 6] * 2])
def test_passes_and_processes_give_the_gradient_of_the_whole(
    method: Method,
    processes: list[list[int]],
    networks: tuple[nn.Module, nn.Module],
    whole: toy.Batch,
) -> None:
    policy, reference = networks
    objective = make_objective(method)
    outcome = objective.loss(toy.passes(objective, policy, reference, whole))
    loss, found = in_passes(objective, policy, reference, whole, processes)
    wanted = gradient(outcome.loss, policy)
    assert loss == pytest.approx(outcome.loss.item(), rel=1e-5)
    assert (found - wanted).norm() < 1e-4 * wanted.norm()


@pytest.mark.parametrize("method", [Rpo(beta=200), Kto(beta=200)], ids=lambda method: method.name)
def test_a_whole_step_is_not_the_mean_of_its_passes(
    method: Method, networks: tuple[nn.Module, nn.Module], whole: toy.Batch
) -> None:
    # What trainers do that compare within a micro-batch; if it were the same, the tests above would show nothing.
    policy, reference = networks
    objective = make_objective(method)

    def loss(given: toy.Batch) -> Tensor:
        return objective.loss(toy.passes(objective, policy, reference, given)).loss

    apart = gradient((loss(whole.at(slice(0, 6))) + loss(whole.at(slice(6, 12)))) / 2, policy)
    together = gradient(loss(whole), policy)
    assert (apart - together).norm() > 0.01 * together.norm()


def test_joined_passes_have_all_winners_first_and_parts_undo_it() -> None:
    def numbered(*values: float) -> Passes:
        errors = torch.tensor(values, dtype=torch.float32)
        features = errors[:, None, None].expand(-1, 2, 3)
        labels = errors[: len(errors) // 2]
        return Passes(errors.clone().requires_grad_(), errors + 100, labels, labels + 10, features=features)

    first, second = numbered(1, 2, -1, -2), numbered(3, -3)
    both = joined([first, second])
    assert both.policy.tolist() == [1, 2, 3, -1, -2, -3]
    assert not both.policy.requires_grad
    assert both.reference is not None
    assert both.reference.tolist() == [101, 102, 103, 99, 98, 97]
    assert both.preference.tolist() == [1, 2, 3]
    assert both.weight.tolist() == [11, 12, 13]
    assert both.features is not None
    assert both.features[:, 0, 0].tolist() == [1, 2, 3, -1, -2, -3]
    assert [part.tolist() for part in parts(both.policy, [2, 1])] == [[1, 2, -1, -2], [3, -3]]
