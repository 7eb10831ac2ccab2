"""Pictures of one, two or three channels, and networks that want one or three."""

import torch

from darkcovid.core.errors import UsageError


def to_channels(x: torch.Tensor, channels: int) -> torch.Tensor:
    """(b, c, h, w) to (b, wanted, h, w): one gray channel is repeated, the second of two is repeated, three become their
    mean. Raises UsageError for two channels where one is wanted."""
    given = x.shape[1]
    if given == channels:
        return x
    if channels == 1 and given == 2:
        raise UsageError("lungs.context_channel: this network looks at one channel; use one for three, without model.grayscale")
    if channels == 1:
        return x.mean(1, keepdim=True)
    return x.expand(-1, channels, -1, -1) if given == 1 else torch.cat([x, x[:, 1:]], 1)
