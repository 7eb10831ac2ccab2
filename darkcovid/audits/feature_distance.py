"""Is an image like those that a network was trained on? By the network's own features, as far as they go.

Distance of normalized features to the k-th nearest of the training images (Sun et al. 2022, "Out-of-Distribution Detection with
Deep Nearest Neighbors", section 3). It is divided by the distance that 95 % of the validation images stay below, so above 1 an
image is further from the training images than all but 5 % of other patients' images of the same sources.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import nn

from darkcovid.core.array_cache import StoredArray
from darkcovid.core.device import Device, predict_batches
from darkcovid.core.safetensors_io import read_safetensors, write_safetensors
from darkcovid.models.feature_layer import feature_layer

FEATURE_DISTANCE = "feature_distance.safetensors"  # in a fit's folder
MAX_TRAINING_IMAGES = 500
NEIGHBORS = 10
LIKE = 0.95  # share of the validation images that count as like the training images


@dataclass(frozen=True)
class FeatureDistance:
    """What new images are compared with.

    Attributes:
        training: (m, c) float32, features of training images, each of length 1.
        limit: Distance of the furthest of the validation images that count as alike.
    """

    training: np.ndarray
    limit: float

    def scores(self, features: np.ndarray) -> np.ndarray:
        """How far images are from the training images.

        Args:
            features: (n, c), as `image_features` gives them.

        Returns:
            (n,) float; above 1 an image is unlike them, and infinite where its features are not finite.
        """
        return _distances(features, self.training) / self.limit

    def save(self, path: Path) -> None:
        """Write it as one safetensors file.

        Args:
            path: The file.
        """
        write_safetensors(path, {"training": torch.from_numpy(self.training)}, {"limit": self.limit})


def load_feature_distance(path: Path) -> FeatureDistance:
    """Read what `FeatureDistance.save` wrote.

    Args:
        path: The file.

    Returns:
        What new images are compared with.

    Raises:
        OSError, ValueError, KeyError: It is missing or damaged.
    """
    tensors, about = read_safetensors(path)
    return FeatureDistance(tensors["training"].numpy(), float(about["limit"]))


def fit_feature_distance(training: np.ndarray, valid: np.ndarray) -> FeatureDistance:
    """Compare with training images, and set the limit by the validation images.

    Args:
        training: (m, c) features of training images, as `image_features` gives them.
        valid: (n, c) of the validation images.

    Returns:
        What new images are compared with.
    """
    training = training[np.isfinite(training).all(1)]
    distances = _distances(valid, training)
    limit = np.quantile(distances[np.isfinite(distances)], LIKE, method="higher") if np.isfinite(distances).any() else 0.0
    return FeatureDistance(training, max(float(limit), float(np.finfo(np.float32).eps)))


def image_features(network: nn.Module, normalizer: nn.Module, pixels: StoredArray, compute: Device) -> np.ndarray:
    """A network's features of images.

    Args:
        network: The classifier.
        normalizer: Of its inputs.
        pixels: (n, h, w) or (n, c, h, w) uint8.
        compute: Device and precision.

    Returns:
        (n, c) float32, each row of length 1.
    """
    with collect_features(network) as features:
        for _ in predict_batches(network, pixels, normalizer, compute):
            pass
    return features()


@contextmanager
def collect_features(network: nn.Module) -> Iterator[Callable[[], np.ndarray]]:
    """A context in which a network's features of the images that it is given are kept: of a transfer learner the backbone's, else
    of the last convolution of many channels, averaged over the image.

    Args:
        network: The classifier.

    Yields:
        What gives (n, c) float32 of the n images so far, each row of length 1.
    """
    found: list[torch.Tensor] = []

    def keep(_: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        found.append((output.float().flatten(2).mean(2) if output.dim() > 2 else output.float()).cpu())

    hook = feature_layer(network).register_forward_hook(keep)
    try:
        yield lambda: torch.nn.functional.normalize(torch.cat(found)).numpy()
    finally:
        hook.remove()


def _distances(features: np.ndarray, training: np.ndarray) -> np.ndarray:
    """(n,) distance to the NEIGHBORS-th nearest training image."""
    if not len(training):
        return np.full(len(features), np.inf)
    nearest = min(NEIGHBORS, len(training)) - 1
    return np.nan_to_num(np.partition(cdist(features, training), nearest, axis=1)[:, nearest], nan=np.inf)
