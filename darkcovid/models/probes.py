"""Heads that are fitted to a frozen backbone's features at once, without epochs: a linear probe, and nearest neighbors."""

from abc import ABC, abstractmethod

import torch
from torch import nn
from torch.nn import functional

NEIGHBORS, TEMPERATURE = 20, 0.07  # Wu et al. 2018 (section 4.2) and Caron et al. 2021 (section 4.1)
MIN_SHARE = 1e-6


class Probe(nn.Module, ABC):
    """Average pooling over the feature map, then `classify`: (b, c, h, w) to (b, outputs) logits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classify(pooled(x))

    @abstractmethod
    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """(b, c) pooled features to (b, outputs) logits."""


class LinearProbe(Probe):
    """Logistic regression on pooled features.

    Args:
        channels: Of the feature map.
        outputs: Logits per image.
    """

    def __init__(self, channels: int, outputs: int):
        super().__init__()
        self.linear = nn.Linear(channels, outputs)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """(b, c) pooled features to (b, outputs) logits."""
        return self.linear(features)


class NearestNeighbors(Probe):
    """Weighted k-nearest-neighbor vote by cosine similarity of pooled features (Wu et al. 2018; Caron et al. 2021: k 20,
    temperature 0.07), as log probabilities.

    Args:
        channels: Of the feature map.
        outputs: Classes.
    """

    def __init__(self, channels: int, outputs: int):
        super().__init__()
        self.features: torch.Tensor
        self.classes: torch.Tensor
        self.register_buffer("features", torch.zeros(1, channels))
        self.register_buffer("classes", torch.zeros(1, outputs))

    def allocate(self, images: int) -> None:
        """Make room for the features of training images, before they are put in or loaded."""
        self.features, self.classes = (old.new_zeros(images, old.shape[1]) for old in (self.features, self.classes))

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """(b, c) pooled features to (b, outputs) log probabilities."""
        with torch.autocast(features.device.type, enabled=False):  # bf16 cannot tell alike neighbors apart
            similarity = functional.normalize(features.float()) @ self.features.T
        nearest, rows = similarity.topk(min(NEIGHBORS, self.features.shape[0]), dim=1)
        weights = (nearest / TEMPERATURE).softmax(1)
        votes = (weights.unsqueeze(2) * self.classes[rows]).sum(1)
        return votes.clamp_min(MIN_SHARE).log()


def pooled(x: torch.Tensor) -> torch.Tensor:
    """(b, c, h, w) feature map to (b, c) averages."""
    return x.mean((2, 3))
