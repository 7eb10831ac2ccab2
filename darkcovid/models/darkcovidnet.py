"""DarkCovidNet (Ozturk et al. 2020, section 2.2 and their notebook): a small Darknet-19 for chest radiographs.

Parity needs two quirks: 1x1 convolutions are padded by 1 too, so each grows the map by 2, and the last block is
convolution, ReLU, then BatchNorm. At 256 px: 1,167,586 parameters for three classes, 1,164,434 for two.
"""

import torch
from torch import nn
from torch.nn import functional

from darkcovid.models.registry import Architecture, Size, register_model

INTEGERS = {torch.bfloat16: torch.int16, torch.float32: torch.int32, torch.float64: torch.int64}


class FirstMaxPool2d(torch.autograd.Function):
    """(b, 4, c, h, w) to the (b, c, h, w) maximum over the four; the gradient goes to the first that reaches it, as in
    MaxPool2d."""

    @staticmethod
    def forward(ctx, phases: torch.Tensor) -> torch.Tensor:
        a, b, c, d = phases.unbind(1)
        upper, lower = torch.maximum(a, b), torch.maximum(c, d)
        ctx.save_for_backward(phases, upper, lower)
        return torch.maximum(upper, lower)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        phases, upper, lower = ctx.saved_tensors
        result, whole = torch.empty_like(phases), INTEGERS[phases.dtype]
        parts, arriving = result.view(whole), gradient.contiguous().view(whole)
        to_lower = arriving & _less_than_mask(upper, lower)
        for pair, there in ((0, arriving ^ to_lower), (2, to_lower)):
            torch.bitwise_and(there, _less_than_mask(phases[:, pair], phases[:, pair + 1]), out=parts[:, pair + 1])
            torch.bitwise_xor(there, parts[:, pair + 1], out=parts[:, pair])
        return result


def _less_than_mask(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """All bits set where first < second, none elsewhere: the sign of the difference, spread by an arithmetic shift. On a CPU
    this and bitwise operations are several times faster than comparing and multiplying."""
    whole = INTEGERS[first.dtype]
    return (first - second).view(whole) >> (torch.iinfo(whole).bits - 1)


class Stem(nn.Module):
    """conv 3 to 8, BatchNorm, pool 2, LeakyReLU(0.1), for (b, 1 to 3, h, w); the second of two channels stands for the third.

    LeakyReLU keeps order, so it may follow the pooling, on a quarter of the pixels. A gray pixel repeated in three
    channels meets the sum of their weights, so one channel gives the same outputs for a third of the work. And for
    even sides the four pixels of each pool window are computed as four sets of channels by one convolution of stride
    2, which makes BatchNorm and pooling run over whole planes: the same numbers, in half the time on a CPU.
    """

    one_layer = True

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.LeakyReLU(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, others = self.conv.weight[:, :1], self.conv.weight[:, 1:].sum(1, keepdim=True)
        weight = {1: first + others, 2: torch.cat([first, others], 1), 3: self.conv.weight}[x.shape[1]]
        b, _, h, w = x.shape
        if x.device.type != "cpu" or h % 2 or w % 2:
            return self.act(functional.max_pool2d(self.norm(functional.conv2d(x, weight, padding=1)), 2))
        shifted = torch.cat([functional.pad(weight, (j, 1 - j, i, 1 - i)) for i in (0, 1) for j in (0, 1)])
        shifted = shifted.reshape(-1).view(shifted.shape)  # plain strides, so that whole planes come out
        phases = functional.conv2d(x, shifted, stride=2, padding=1).contiguous().view(4 * b, 8, h // 2, w // 2)
        pooled = FirstMaxPool2d.apply(self.norm(phases).view(b, 4, 8, h // 2, w // 2))
        return self.act(pooled.contiguous(memory_format=torch.channels_last))


def conv_block(ni: int, nf: int, k: int = 3, pool: bool = False) -> nn.Sequential:
    """Convolution without bias, padding 1 whatever `k` is, BatchNorm, LeakyReLU(0.1); `pool` halves the map before the
    LeakyReLU, which keeps order, so that the result is the same as after it."""
    pooling = [nn.MaxPool2d(2)] if pool else []
    return nn.Sequential(
        nn.Conv2d(ni, nf, k, padding=1, bias=False), nn.BatchNorm2d(nf), *pooling, nn.LeakyReLU(0.1, inplace=True)
    )


def triple_conv(ni: int, nf: int, pool: bool = False) -> nn.Sequential:
    """3x3 to `nf`, 1x1 back to `ni` (whose padding grows the map by 2), 3x3 to `nf`."""
    return nn.Sequential(conv_block(ni, nf), conv_block(nf, ni, k=1), conv_block(ni, nf, pool=pool))


def final_feature_size(side: int) -> int:
    """Side of the last feature map for an input side: 13 at 256 px. Each 1x1 convolution has grown it by 2."""
    for _ in range(2):
        side //= 2
    for _ in range(3):
        side = (side + 2) // 2
    return side + 2 + 2


class DarkCovidNet(nn.Sequential):
    """(b, 1 to 3, h, w) standardized pixels to (b, classes) logits.

    head `flatten` flattens the last map into a Linear layer whose width follows from `size`; `gap` averages the
    map first and so accepts any size.
    """

    def __init__(self, classes: int, size: Size, head: str = "flatten"):
        super().__init__(
            Stem(),
            conv_block(8, 16, pool=True),
            triple_conv(16, 32, pool=True),
            triple_conv(32, 64, pool=True),
            triple_conv(64, 128, pool=True),
            *classifier_head(classes, size, head),
        )


def classifier_head(classes: int, size: Size, head: str) -> list[nn.Module]:
    """The layers after the last pooling: (b, 128, h, w) to (b, classes) logits."""
    last = nn.Conv2d(256, classes, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(last.weight)
    if head == "gap":
        pooling, features = nn.AdaptiveAvgPool2d(1), classes
    else:
        pooling, features = nn.Identity(), classes * final_feature_size(size[0]) * final_feature_size(size[1])
    block = nn.Sequential(last, nn.ReLU(), nn.BatchNorm2d(classes))
    layers = [triple_conv(128, 256), conv_block(256, 128, k=1), conv_block(128, 256), block]
    return [*layers, pooling, nn.Flatten(), nn.Linear(features, classes)]


def darkcovidnet_reference(classes: int, size: Size, head: str = "flatten") -> nn.Sequential:
    """The same network for (b, 3, h, w), every layer where its authors put it: what `DarkCovidNet` is timed against."""
    pool = nn.MaxPool2d(2, 2)
    layers = [
        conv_block(3, 8),
        pool,
        conv_block(8, 16),
        pool,
        triple_conv(16, 32),
        pool,
        triple_conv(32, 64),
        pool,
        triple_conv(64, 128),
        pool,
    ]
    return nn.Sequential(*layers, *classifier_head(classes, size, head))


register_model(
    Architecture(
        name="darkcovidnet",
        source="Ozturk et al. 2020, Computers in Biology and Medicine 121, 103792",
        default_size=256,
        heads=("flatten", "gap"),
        build=lambda model, outputs, size: DarkCovidNet(outputs, size, model.head or "flatten"),
        published=lambda model, outputs, size: darkcovidnet_reference(outputs, size, model.head or "flatten"),
    )
)
