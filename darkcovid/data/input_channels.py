"""Pictures of one, two or three channels, and networks that want one or three."""

import torch

from darkcovid.core.errors import UsageError


def to_channels(x: torch.Tensor, channels: int) -> torch.Tensor:
    """An input with another number of channels.

    Args:
        x: (b, c, h, w), c of 1 to 3.
        channels: 1 or 3.

    Returns:
        (b, channels, h, w): one gray channel is repeated, the second of two is repeated, three become their mean.

    Raises:
        UsageError: Two channels where one is asked for.
    """
    given = x.shape[1]
    if given == channels:
        return x
    if channels == 1 and given == 2:
        raise UsageError("lungs.context_channel: this network takes images of one channel; use another, or leave the context out")
    if channels == 1:
        return x.mean(1, keepdim=True)
    return x.expand(-1, channels, -1, -1) if given == 1 else torch.cat([x, x[:, 1:]], 1)
