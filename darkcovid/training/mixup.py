"""Mixup and CutMix: fastai's callbacks, as a recipe asks for them."""

from fastai.callback.core import Callback
from fastai.callback.mixup import CutMix, MixUp

from darkcovid.recipe import Training


def mixup_callbacks(training: Training) -> list[Callback]:
    """What mixes the images of a batch.

    Args:
        training: The recipe's section, which asks for mixup (Zhang et al. 2018), CutMix (Yun et al. 2019) or neither.

    Returns:
        fastai's callbacks.
    """
    callbacks: list[Callback] = []
    if training.mixup_alpha is not None:
        callbacks.append(MixUp(training.mixup_alpha))
    if training.cutmix_alpha is not None:
        callbacks.append(CutMix(training.cutmix_alpha))
    return callbacks
