"""Convolutional networks from scratch, as their authors described them (systems B, C and D): one table, one builder."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn

from darkcovid.data.input_channels import to_channels
from darkcovid.models.keras_init import init_keras_
from darkcovid.models.registry import Architecture, Build, Size, register_model
from darkcovid.recipe import Model


class BatchNormNoScale(nn.BatchNorm2d):
    """BatchNorm with an offset and no scale, as Keras's `BatchNormalization(scale=False)`: (b, c) or (b, c, h, w)."""

    def __init__(self, channels: int):
        super().__init__(channels, affine=False)
        self.offset = nn.Parameter(torch.zeros(channels))

    def _check_input_dim(self, x: torch.Tensor) -> None:
        """Dense layers are normalized like maps of one pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + self.offset.view(-1, *[1] * (x.dim() - 2))


class GrayscaleInput(nn.Sequential):
    """A network for images of one channel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(to_channels(x, 1))


class RGBInput(nn.Sequential):
    """A network for images of three channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(to_channels(x, 3))


def conv_relu_pool(ni: int, nf: int, batch_norm: bool = False) -> list[nn.Module]:
    """3x3 convolution without padding, ReLU, pooling by 2.

    Args:
        ni: Channels in.
        nf: Channels out.
        batch_norm: Whether the convolution has no bias, and `BatchNormNoScale` comes before the ReLU.

    Returns:
        The layers.
    """
    between = [BatchNormNoScale(nf)] if batch_norm else []
    return [nn.Conv2d(ni, nf, 3, bias=not batch_norm), *between, nn.ReLU(), nn.MaxPool2d(2)]


def conv_output_size(side: int, convolutions: int) -> int:
    """Side of the map after some `conv_relu_pool`.

    Args:
        side: Of the input in pixels.
        convolutions: How many.

    Returns:
        Pixels.
    """
    for _ in range(convolutions):
        side = (side - 2) // 2
    return side


def _flat(channels: int, size: Size, convolutions: int) -> int:
    return channels * conv_output_size(size[0], convolutions) * conv_output_size(size[1], convolutions)


def basic_cnn(dropout: float, batch_norm: bool) -> Callable[[Model, int, Size], nn.Module]:
    """System C, experiments 1 to 3: convolutions 32, 32, 32, 64, 64, dense 128, 64, output.

    Args:
        dropout: Where the recipe says nothing.
        batch_norm: Whether the last three convolutions and the first dense layer are without bias, then BatchNorm with offset
            but no
            scale.

    Returns:
        What builds the network for a recipe's model, a number of outputs and a size.
    """

    def build(model: Model, outputs: int, size: Size) -> nn.Module:
        share = dropout if model.dropout is None else model.dropout
        widths = (1, 32, 32, 32, 64, 64)
        convolutions = [
            layer
            for place, (ni, nf) in enumerate(pairwise(widths))
            for layer in conv_relu_pool(ni, nf, batch_norm and place >= 2)
        ]
        first = nn.Linear(_flat(64, size, 5), 128, bias=not batch_norm)
        return GrayscaleInput(
            *convolutions,
            nn.Flatten(),
            first,
            *([BatchNormNoScale(128)] if batch_norm else []),
            nn.ReLU(),
            nn.Linear(128, 64),
            nn.ReLU(),
            *([nn.Dropout(share)] if share else []),
            nn.Linear(64, outputs),
        )

    return build


def three_layer_cnn(model: Model, outputs: int, size: Size) -> nn.Module:
    """System D: convolutions 32, 32, 64, dense 64, dropout 0.5, output.

    Args:
        model: The recipe's section.
        outputs: Logits per image.
        size: (height, width) of the input in pixels.

    Returns:
        The network, for (b, 1 to 3, h, w).
    """
    return RGBInput(
        *conv_relu_pool(3, 32),
        *conv_relu_pool(32, 32),
        *conv_relu_pool(32, 64),
        nn.Flatten(),
        nn.Linear(_flat(64, size, 3), 64),
        nn.ReLU(),
        nn.Dropout(0.5 if model.dropout is None else model.dropout),
        nn.Linear(64, outputs),
    )


def cnn13(model: Model, outputs: int, size: Size) -> nn.Module:
    """System B: 13 convolutions, each followed by LeakyReLU, with pooling, dropout and a dense output.

    The report says pooling after each; thirteen of them would exhaust 224 px, so it is read as five blocks of 2, 2, 3, 3 and
    3
    convolutions, each closed by one pooling and dropout. Widths are not reported: 16, 32, 64, 128, 128 here.

    Args:
        model: The recipe's section.
        outputs: Logits per image.
        size: (height, width) of the input in pixels.

    Returns:
        The network, for (b, 1 to 3, h, w).
    """
    share = 0.25 if model.dropout is None else model.dropout
    layers, ni = [], 1
    for count, nf in zip((2, 2, 3, 3, 3), (16, 32, 64, 128, 128), strict=True):
        for _ in range(count):
            layers += [nn.Conv2d(ni, nf, 3, padding=1), nn.LeakyReLU(0.1)]
            ni = nf
        layers += [nn.MaxPool2d(2), nn.Dropout(share)]
    return GrayscaleInput(*layers, nn.Flatten(), nn.Linear(ni * (size[0] // 32) * (size[1] // 32), outputs))


def _with_keras_init(build: Build) -> Build:
    """The network with the first weights that its authors' library draws."""
    return lambda model, outputs, size: init_keras_(build(model, outputs, size))


for _name, _size, _build in (
    ("basic_cnn_1", 180, basic_cnn(0.0, False)),
    ("basic_cnn_2", 224, basic_cnn(0.5, False)),
    ("basic_cnn_3", 224, basic_cnn(0.5, True)),
):
    register_model(
        Architecture(_name, f"system C, basic CNN, experiment {_name[-1]}", _size, ("dense",), _with_keras_init(_build))
    )
register_model(Architecture("three_layer_cnn", "system D, three-layer CNN", 150, ("dense",), _with_keras_init(three_layer_cnn)))
register_model(Architecture("cnn13", "system B, 13 convolutions", 224, ("dense",), _with_keras_init(cnn13)))
