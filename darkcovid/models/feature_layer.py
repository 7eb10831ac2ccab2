"""Which layer's output says what a network sees in an image?"""

from torch import nn

MIN_CHANNELS = 16


def feature_layer(network: nn.Module) -> nn.Module:
    """The backbone of a transfer learner, else the last convolution of many channels, whose output is (b, c, h, w); of a network
    that has none the network itself, whose output is (b, c)."""
    body = getattr(network, "body", None)
    if isinstance(body, nn.Module):
        return body
    convolutions = _wide_convolutions(network)
    return convolutions[-1] if convolutions else network


def last_conv_layer(network: nn.Module) -> nn.Module:
    """The last convolution that gives at least 16 channels: one that gives a channel a class is part of the head."""
    return _wide_convolutions(network)[-1]


def _wide_convolutions(network: nn.Module) -> list[nn.Module]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.out_channels >= MIN_CHANNELS]
