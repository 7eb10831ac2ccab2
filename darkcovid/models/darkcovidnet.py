"""DarkCovidNet (Ozturk et al. 2020, section 2.2 and their notebook): a small Darknet-19 for chest radiographs.

Parity needs two quirks: 1x1 convolutions are padded by 1 too, so each grows the map by 2, and the last block is
convolution, ReLU, then BatchNorm. At 256 px: 1,167,586 parameters for three classes, 1,164,434 for two.
"""

import torch
from torch import nn
from torch.nn import functional

from darkcovid.models.registry import Architecture, Size, register


class GrayStem(nn.Conv2d):
    """A three-channel first convolution that also takes (b, 1, h, w): a gray pixel repeated in three channels meets
    the sum of their weights, so the outputs are the same for a third of the work."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] == 3:
            return super().forward(x)
        return functional.conv2d(x, self.weight.sum(1, keepdim=True), self.bias, self.stride, self.padding)


def conv(ni: int, nf: int, k: int = 3, kind: type[nn.Conv2d] = nn.Conv2d) -> nn.Sequential:
    """Convolution without bias, padding 1 whatever `k` is, BatchNorm, LeakyReLU(0.1)."""
    return nn.Sequential(kind(ni, nf, k, padding=1, bias=False), nn.BatchNorm2d(nf), nn.LeakyReLU(0.1, inplace=True))


def triple(ni: int, nf: int) -> nn.Sequential:
    """3x3 to `nf`, 1x1 back to `ni`, 3x3 to `nf`: the map grows by 2 on each side's sum."""
    return nn.Sequential(conv(ni, nf), conv(nf, ni, k=1), conv(ni, nf))


def final_map(side: int) -> int:
    """Side of the last feature map for an input side: 13 at 256 px. The four triples' and one more 1x1 grow it."""
    for _ in range(2):
        side //= 2
    for _ in range(3):
        side = (side + 2) // 2
    return side + 2 + 2


class DarkCovidNet(nn.Sequential):
    """(b, 1 or 3, h, w) standardised pixels to (b, classes) logits.

    head `faithful` flattens the last map into a Linear layer whose width follows from `size`; `gap` averages the
    map first and so accepts any size.
    """

    def __init__(self, classes: int, size: Size, head: str = "faithful"):
        last = nn.Conv2d(256, classes, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(last.weight)
        if head == "gap":
            pooling, features = nn.AdaptiveAvgPool2d(1), classes
        else:
            pooling, features = nn.Identity(), classes * final_map(size[0]) * final_map(size[1])
        super().__init__(
            conv(3, 8, kind=GrayStem),
            nn.MaxPool2d(2),
            conv(8, 16),
            nn.MaxPool2d(2),
            triple(16, 32),
            nn.MaxPool2d(2),
            triple(32, 64),
            nn.MaxPool2d(2),
            triple(64, 128),
            nn.MaxPool2d(2),
            triple(128, 256),
            conv(256, 128, k=1),
            conv(128, 256),
            nn.Sequential(last, nn.ReLU(), nn.BatchNorm2d(classes)),
            pooling,
            nn.Flatten(),
            nn.Linear(features, classes),
        )


register(
    Architecture(
        name="darkcovidnet",
        source="Ozturk et al. 2020, Computers in Biology and Medicine 121, 103792",
        default_size=256,
        heads=("faithful", "gap"),
        build=DarkCovidNet,
    )
)
