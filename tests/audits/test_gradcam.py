"""Grad-CAM on networks whose attention is known."""

import numpy as np
import pytest
import torch
from torch import nn

from darkcovid.audits.gradcam import grad_cam, gradcam_lung_overlap, last_conv_layer, reinitialized
from darkcovid.data.normalize import Normalize
from darkcovid.lungs.crop import LungRegions


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


class Sides(nn.Module):
    """Class 0 is a bright blob whose channels are counted on the left, class 1 one on the right: sixteen channels see what is
    bright on the left half, sixteen more on the right. Grad-CAM weights channels, so it must lie where the class's channels are
    active."""

    def __init__(self, outputs):
        super().__init__()
        self.conv = nn.Conv2d(2, 16, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[:8, 0] = self.conv.weight[8:, 1] = 1.0
        self.outputs = outputs

    def forward(self, x):
        left = torch.zeros_like(x)
        left[..., : x.shape[-1] // 2] = 1
        seen = self.conv(torch.cat([x * left, x * (1 - left)], 1))
        both = torch.stack([seen[:, :8].mean((1, 2, 3)), seen[:, 8:].mean((1, 2, 3))], 1)
        return both if self.outputs == 2 else both[:, :1] - both[:, 1:]


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_map_lies_where_the_class_is_read(cpu, outputs):
    """One bright blob on each side of both pictures: the map of class 0 lies on the left one, of class 1 on the right one; of one
    logit, class 1 is its opposite."""
    pixels = np.zeros((2, 32, 32), np.uint8)
    pixels[:, 8:14, 4:10] = pixels[:, 18:24, 22:28] = 200
    maps = grad_cam(Sides(outputs), Normalize(), pixels, np.array([0, 1]), cpu)
    assert maps.shape == (2, 32, 32)
    assert (maps >= 0).all()
    assert maps[0, 8:14, 4:10].sum() > 0.9 * maps[0].sum() > 0
    assert maps[1, 18:24, 22:28].sum() > 0.9 * maps[1].sum() > 0


def test_shares_are_of_the_map_inside_the_lungs(cohort, cpu):
    pixels = np.zeros((len(cohort), 32, 32), np.uint8)
    pixels[:, 4:12, 4:12] = 255
    areas = np.zeros_like(pixels)
    areas[:, :16] = 1
    trusted = np.arange(len(cohort)) % 2 == 0
    probabilities = np.tile([0.7, 0.2, 0.1], (len(cohort), 1)).astype(np.float32)
    found = gradcam_lung_overlap(Quadrants(), Normalize(), pixels, probabilities, LungRegions(areas, trusted), cohort, cpu)
    assert len(found.table) == cohort.valid.sum()
    inside = found.table.inside_lungs[trusted[found.rows]]
    assert (inside > 0.95).all()
    assert found.table.inside_lungs[~trusted[found.rows]].isna().all()
    assert found.summary["covid"].lungs_of_picture == pytest.approx(0.5)


def test_the_layer_is_the_last_with_many_channels():
    from darkcovid.models.darkcovidnet import DarkCovidNet

    assert last_conv_layer(DarkCovidNet(3, (64, 64))).out_channels == 256


def test_redrawn_weights_are_others_and_the_network_keeps_its_own():
    network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.Linear(4, 2))
    before = network[0].weight.clone()
    fresh = reinitialized(network)
    assert not torch.equal(fresh[0].weight, network[0].weight)
    assert torch.equal(before, network[0].weight)
