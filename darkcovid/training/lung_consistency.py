"""The same prediction whatever is outside the lungs: each training batch is seen twice, the second time with the outside of its
images taken from other images of the batch, and a difference of the predictions is penalized.

After Veitch et al. 2021, "Counterfactual Invariance to Spurious Correlations" (section 4), with backgrounds swapped as by Xiao et
al. 2020, "Noise or Signal: The Role of Image Backgrounds in Object Recognition" (section 2).
"""

import torch

from darkcovid.training.callbacks import PlainErrorsCallback
from darkcovid.training.loss import class_probabilities

TINY = 1e-7  # the least probability that counts


class LungConsistency(PlainErrorsCallback):
    """Adds how far the predictions of the two halves of a training batch are apart to its loss.

    Args:
        weight: Of that difference, the Jensen-Shannon divergence in nats.
    """

    order = -40  # after a loss of groups has taken the loss's place, ahead of what records it

    def __init__(self, weight: float):
        self.weight = weight

    def after_loss(self):
        if not self.training:
            return
        loss = self.learn.loss_grad + self.weight * jensen_shannon(*class_probabilities(self.pred).chunk(2))
        self.learn.loss_grad, self.learn.loss = loss, loss.clone()


def jensen_shannon(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Mean Jensen-Shannon divergence of two sets of predictions (Lin 1991).

    Args:
        one: (b, classes) float, rows sum to 1.
        other: (b, classes) float, rows sum to 1.

    Returns:
        A number from 0 to log 2, in nats.
    """
    mean = (one + other) / 2
    each = torch.stack([one, other])
    logs = each.clamp_min(TINY).log() - mean.clamp_min(TINY).log()  # clamped, so that the gradient is finite where one is certain
    return (each * logs).sum(2).mean()
