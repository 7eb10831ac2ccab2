"""DarkCovidNet (Ozturk et al. 2020, section 2.2 and their notebook): a small Darknet-19 for chest radiographs.

Parity needs two quirks: 1x1 convolutions are padded by 1 too, so each grows the map by 2, and the last block is
convolution, ReLU, then BatchNorm. At 256 px: 1,167,586 parameters for three classes, 1,164,434 for two.
"""

from torch import nn

from darkcovid.models.darkcovidnet_stem import Stem
from darkcovid.models.registry import Architecture, Size, register_model


def conv_block(ni: int, nf: int, k: int = 3, pool: bool = False) -> nn.Sequential:
    """Convolution without bias, padding 1 whatever the kernel, BatchNorm, LeakyReLU(0.1).

    Args:
        ni: Channels in.
        nf: Channels out.
        k: Side of the kernel.
        pool: Whether the map is halved before the LeakyReLU, which keeps order, so that the result is the same as after it.

    Returns:
        The block.
    """
    pooling = [nn.MaxPool2d(2)] if pool else []
    return nn.Sequential(
        nn.Conv2d(ni, nf, k, padding=1, bias=False), nn.BatchNorm2d(nf), *pooling, nn.LeakyReLU(0.1, inplace=True)
    )


def triple_conv(ni: int, nf: int, pool: bool = False) -> nn.Sequential:
    """3x3 to `nf`, 1x1 back to `ni` (whose padding grows the map by 2), 3x3 to `nf`.

    Args:
        ni: Channels in.
        nf: Channels out.
        pool: Whether the last block halves the map.

    Returns:
        The three blocks.
    """
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

    Args:
        classes: How many.
        size: (height, width) of the input in pixels.
        head: `flatten` flattens the last map into a Linear layer whose width follows from `size`; `gap` averages the map
            first and
            so accepts any size.
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
    """The layers after the last pooling.

    Args:
        classes: How many.
        size: (height, width) of the input in pixels.
        head: `flatten` or `gap`.

    Returns:
        Layers for (b, 128, h, w), to (b, classes) logits.
    """
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
    """The same network for (b, 3, h, w), every layer where its authors put it: what `DarkCovidNet` is timed against.

    Args:
        classes: How many.
        size: (height, width) of the input in pixels.
        head: `flatten` or `gap`.

    Returns:
        The network.
    """
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
