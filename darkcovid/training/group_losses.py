"""Losses that know from which source an image comes, so that a network gains little by telling sources apart.

A group is a class of a source. `reweighted`: every group weighs the same (importance weights); `dro`: the worst group weighs most
(Sagawa et al. 2020, "Distributionally Robust Neural Networks", algorithm 1).
"""

import numpy as np
import torch
from torch.nn import functional

from darkcovid.recipe import Loss
from darkcovid.training.callbacks import PlainErrorsCallback

DRO_STEP = 0.01


class GroupLoss(PlainErrorsCallback):
    """Replaces the loss of training batches by that of groups.

    Args:
        groups: (n,) int, the group of each image of the cohort; from 0 without gaps among those trained on.
        train: (n,) bool, images of the training set.
        loss: The recipe's section.
    """

    order = -50  # ahead of what records the loss

    def __init__(self, groups: np.ndarray, train: np.ndarray, loss: Loss):
        self.groups, self.kind, self.label_smoothing = groups, loss.groups, loss.label_smoothing
        counts = np.bincount(groups[train], minlength=int(groups.max()) + 1)
        present = counts > 0
        self.importance = np.where(present, train.sum() / (present.sum() * np.maximum(counts, 1)), 0.0)
        self.weights = [float(value) for value in present / present.sum()]

    def after_loss(self):
        if not self.training:
            return
        rows = self.learn.dls.train.batches[self.iter]
        groups = torch.as_tensor(self.groups[rows], device=self.pred.device)
        labels = torch.Tensor(self.yb[0]).long()
        each = functional.cross_entropy(self.pred, labels, reduction="none", label_smoothing=self.label_smoothing)
        if self.kind == "reweighted":
            loss = (each * torch.as_tensor(self.importance, dtype=each.dtype, device=each.device)[groups]).mean()
        else:
            loss = self._worst(each, groups)
        self.learn.loss_grad, self.learn.loss = loss, loss.clone()

    def _worst(self, each: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        counts = torch.bincount(groups, minlength=len(self.weights))
        sums = torch.zeros(len(self.weights), dtype=each.dtype, device=each.device).index_add(0, groups, each)
        means = sums / counts.clamp_min(1)
        weights = torch.tensor(self.weights, dtype=each.dtype, device=each.device) * torch.exp(DRO_STEP * means.detach())
        weights = weights / weights.sum()
        self.weights = weights.tolist()
        return (weights * means).sum()
