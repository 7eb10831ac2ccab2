"""The registry builds whatever it is given."""

import torch
from torch import nn

from darkcovid.models import registry
from darkcovid.recipe import Model


def test_lazy_layers_can_be_trained(monkeypatch):
    def build(model, outputs, size):
        return nn.Sequential(nn.LazyConv2d(4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(outputs))

    monkeypatch.setitem(registry._TABLE, "lazy", registry.Architecture("lazy", "here", 32, ("avgpool",), build))
    network = registry.create_model(Model(arch="lazy"), 3, (32, 32))
    network(torch.rand(2, 1, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
