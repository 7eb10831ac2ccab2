"""The fused Adam against fastai's, step by step."""

import copy

import pytest
import torch
from fastai.optimizer import Adam
from torch import nn

from darkcovid.training.optimizer import FusedAdam


def optimized(kind, network, steps=30):
    """Two groups with rates of their own, one of them changing, momentum cycled, and one parameter that does not decay."""
    groups = [list(layer.parameters()) for layer in (network[0], network[2])]
    opt = kind(groups, lr=1e-2, mom=0.9, sqr_mom=0.99, eps=1e-5, wd=0.1)
    opt.state[network[0].bias]["do_wd"] = False
    random = torch.Generator().manual_seed(0)
    for step in range(steps):
        opt.set_hyper("lr", [1e-2, 1e-3 * (step + 1)])
        opt.set_hyper("mom", 0.95 - 0.003 * step)
        x = torch.randn(8, 4, generator=random)
        network(x).square().mean().backward()
        opt.step()
        opt.zero_grad()
    return opt


@pytest.fixture
def networks():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    return network, copy.deepcopy(network)


def test_its_steps_are_those_of_fastai(networks):
    mine, theirs = networks
    ours, reference = optimized(FusedAdam, mine), optimized(Adam, theirs)
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        for key in ("grad_avg", "sqr_avg"):
            torch.testing.assert_close(ours.state[a][key], reference.state[b][key], rtol=1e-4, atol=1e-7)
    assert float(ours.state[mine[0].bias]["step"]) == reference.state[theirs[0].bias]["step"] == 30


def test_what_was_saved_in_another_layout_goes_on_alike():
    """Channels-last weights, and their memory written down as plain rows, as a checkpoint does."""
    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    again = copy.deepcopy(network)
    first, second = (FusedAdam(list(one.parameters()), lr=0.1) for one in (network, again))
    x = torch.randn(2, 3, 8, 8)
    for one, opt in ((network, first), (again, second)):
        one(x).square().mean().backward()
        opt.step()
        opt.zero_grad()
    saved = first.state_dict()
    plain = [{key: value.clone().contiguous() for key, value in state.items()} for state in saved["state"]]
    second.load_state_dict({"state": plain, "hypers": saved["hypers"]})
    for one, opt in ((network, first), (again, second)):
        one(x).square().mean().backward()
        opt.step()
    assert torch.equal(network.weight, again.weight)


def test_frozen_parameters_stay(networks):
    network, before = networks
    opt = FusedAdam([list(network[0].parameters()), list(network[2].parameters())], lr=0.1)
    opt.freeze_to(-1)
    network(torch.randn(8, 4)).sum().backward()
    opt.step()
    assert torch.equal(network[0].weight, before[0].weight)
    assert not torch.equal(network[2].weight, before[2].weight)
