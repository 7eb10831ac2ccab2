"""Which layer's output says what a network sees in an image?"""

from torch import nn

MIN_CHANNELS = 16


def feature_layer(network: nn.Module) -> nn.Module:
    """The backbone of a transfer learner, else the last convolution of many channels; its output is (b, c, h, w)."""
    body = getattr(network, "body", None)
    return body if isinstance(body, nn.Module) else last_conv_layer(network)


def last_conv_layer(network: nn.Module) -> nn.Module:
    """The last convolution that gives at least 16 channels: one that gives a channel a class is part of the head."""
    candidates = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.out_channels >= MIN_CHANNELS]
    return candidates[-1]
