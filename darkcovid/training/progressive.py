"""Progressive resizing (Howard and Gugger 2020, section 7): early epochs see smaller images, which cost less."""

import torch
from torch import nn
from torch.nn import functional

from darkcovid.core.errors import UsageError
from darkcovid.recipe import Progressive, Training
from darkcovid.training.callbacks import PlainErrorsCallback
from darkcovid.training.history import History

MULTIPLE = 32


def image_size_at_epoch(size: tuple[int, int], progressive: Progressive, epoch: int, epochs: int) -> tuple[int, int]:
    """The size of training images in an epoch.

    Sides grow evenly from `start` of `size` to all of it, which they have from `until` of the epochs on; they are multiples
    of 32.

    Args:
        size: (height, width) of the input in pixels.
        progressive: The recipe's section.
        epoch: From 0.
        epochs: In all.

    Returns:
        (height, width) in pixels.
    """
    share = progressive.start + (1 - progressive.start) * min(1.0, epoch / (progressive.until * epochs))
    if share >= 1:
        return size
    height, width = (max(MULTIPLE, MULTIPLE * round(side * share / MULTIPLE)) for side in size)
    return min(height, size[0]), min(width, size[1])


class ProgressiveResizing(PlainErrorsCallback):
    """Shrinks each training batch to its epoch's size, after augmentation."""

    order = 12

    def __init__(self, training: Training, history: History):
        self.progressive, self.epochs, self.history = training.progressive_resizing, training.epochs, history

    def before_batch(self):
        if not self.training or self.progressive is None:
            return
        images = self.xb[0]
        size = image_size_at_epoch(tuple(images.shape[-2:]), self.progressive, len(self.history.rows), self.epochs)
        if size != tuple(images.shape[-2:]):
            self.learn.xb = (functional.interpolate(images, size, mode="area"),)


def check_supports_any_size(network: nn.Module, channels: int, size: tuple[int, int], training: Training) -> None:
    """Refuse growing images where the network takes one size only.

    Args:
        network: The classifier.
        channels: Of its input.
        size: (height, width) of the input in pixels.
        training: The recipe's section.

    Raises:
        UsageError: The network does not take the smallest size.
    """
    if training.progressive_resizing is None:
        return
    small = image_size_at_epoch(size, training.progressive_resizing, 0, training.epochs)
    trained = network.training
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, channels, *small))
    except RuntimeError:
        raise UsageError(
            f"training.progressive_resizing: this network takes images of {size[0]}x{size[1]} only, not {small[0]}x{small[1]}; "
            "choose a head that pools, such as model.head=gap for darkcovidnet"
        ) from None
    finally:
        network.train(trained)
