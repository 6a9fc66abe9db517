"""The average of the weights, against diffusers' own."""

import torch
from diffusers.training_utils import EMAModel
from torch import nn

from training.blocks import EmaConfig
from training.loop.average import Average


def network() -> nn.Module:
    return nn.Linear(3, 2)


def stir(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in module.parameters():
            each.copy_(torch.randn(each.shape, generator=generator))


def test_while_it_warms_up_it_is_the_average_that_diffusers_keeps() -> None:
    """Its decays are 0, 2/11, 3/12, 4/13 and so on up to the config's, here from the fifth update on."""
    policy = network()
    average, theirs = Average(policy, EmaConfig(decay=0.35)), EMAModel(policy.parameters(), decay=0.35)
    decays = []
    for step in range(8):
        stir(policy, step)
        average.follow(step)
        theirs.step(policy.parameters())
        decays.append(average.decay)
        for mine, other in zip(average.module.parameters(), theirs.shadow_params, strict=True):
            torch.testing.assert_close(mine, other)
    torch.testing.assert_close(torch.tensor(decays), torch.tensor([0, 2 / 11, 3 / 12, 4 / 13, 0.35, 0.35, 0.35, 0.35]))


def test_it_follows_every_so_many_steps_and_frozen_weights_are_the_policys_own() -> None:
    policy = network()
    policy.get_parameter("bias").requires_grad_(False)
    average = Average(policy, EmaConfig(decay=0.75, warmup=False, every=3))
    assert average.module.get_parameter("bias") is policy.get_parameter("bias")
    before = policy.get_parameter("weight").detach().clone()
    with torch.no_grad():
        policy.get_parameter("weight").add_(1)
    seen = []
    for step in range(6):
        average.follow(step)
        seen.append(float((average.module.get_parameter("weight") - before).mean()))
    # ¼ of the way to +1 after the third step, ¼ of the rest after the sixth
    torch.testing.assert_close(torch.tensor(seen), torch.tensor([0, 0, 0.25, 0.25, 0.25, 0.4375]))
