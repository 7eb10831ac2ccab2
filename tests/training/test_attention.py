"""Grad-CAM on networks whose attention is known."""

import numpy as np
import pytest
import torch
from torch import nn

from darkcovid.data.normalise import Fixed
from darkcovid.training.attention import attend, grad_cam, last_convolution, redrawn
from darkcovid.training.shortcuts import LungAreas


class Quadrants(nn.Module):
    """Class 0 is the brightness of the upper left quarter, class 1 that of the lower right."""

    def __init__(self, outputs=2):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 1, bias=False)
        nn.init.ones_(self.conv.weight)
        self.outputs = outputs

    def forward(self, x):
        seen = self.conv(x).mean(1)
        half = x.shape[-1] // 2
        both = torch.stack([seen[:, :half, :half].mean((1, 2)), seen[:, half:, half:].mean((1, 2))], 1)
        return both if self.outputs == 2 else both[:, :1] - both[:, 1:]


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_map_lies_where_the_class_is_read(cpu, outputs):
    pixels = np.full((2, 32, 32), 200, np.uint8)
    maps = grad_cam(Quadrants(outputs), Fixed(), pixels, np.array([0, 1]), cpu)
    assert maps.shape == (2, 32, 32)
    assert (maps >= 0).all()
    if outputs == 2:
        assert maps[0].sum() > 0


def test_shares_are_of_the_map_inside_the_lungs(cohort, cpu):
    pixels = np.zeros((len(cohort), 32, 32), np.uint8)
    pixels[:, 4:12, 4:12] = 255
    areas = np.zeros_like(pixels)
    areas[:, :16] = 1
    trusted = np.arange(len(cohort)) % 2 == 0
    probabilities = np.tile([0.7, 0.2, 0.1], (len(cohort), 1)).astype(np.float32)
    found = attend(Quadrants(), Fixed(), pixels, probabilities, LungAreas(areas, trusted), cohort, cpu)
    assert len(found.table) == cohort.valid.sum()
    inside = found.table.inside_lungs[trusted[found.rows]]
    assert (inside > 0.95).all()
    assert found.table.inside_lungs[~trusted[found.rows]].isna().all()
    assert found.summary["covid"]["lungs_of_picture"] == pytest.approx(0.5)


def test_the_layer_is_the_last_with_many_channels():
    from darkcovid.models.darkcovidnet import DarkCovidNet

    assert last_convolution(DarkCovidNet(3, (64, 64))).out_channels == 256


def test_redrawn_weights_are_others_and_the_network_keeps_its_own():
    network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.Linear(4, 2))
    before = network[0].weight.clone()
    fresh = redrawn(network)
    assert not torch.equal(fresh[0].weight, network[0].weight)
    assert torch.equal(before, network[0].weight)
