"""The explanations of one or several networks, laid over the images that they were made of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darkcovid.audits.explanations import RANDOM_WEIGHTS, agreements
from darkcovid.lungs.crop import CropTransform


@dataclass(frozen=True)
class Explanations:
    """Of one image's most probable class.

    Attributes:
        agreement: Rank correlation of each two methods over 8x8 patches, of several networks the mean; None where a map is even.
        maps: (height, width) float32 over the image by method, not negative, of several networks the mean.
    """

    agreement: dict[str, float | None]
    maps: dict[str, np.ndarray]


def explanations_over_images(
    of_networks: Sequence[dict[str, np.ndarray]], frames: Sequence[CropTransform], sizes: Sequence[tuple[int, int]]
) -> list[Explanations]:
    """Lay explanations over the images.

    Args:
        of_networks: Of each network, (n, h, w) maps by method, as `explanation_maps` gives them.
        frames: Of each network, where what it sees lies in the images.
        sizes: (n) of (width, height) of the images in pixels.

    Returns:
        Explanations per image.
    """
    explanations = []
    for row, size in enumerate(sizes):
        agreed = [agreements({name: maps[row] for name, maps in network.items()}) for network in of_networks]
        over = {
            name: np.mean(
                [frame.over_image(row, network[name][row], size) for frame, network in zip(frames, of_networks, strict=True)],
                axis=0,
            )
            for name in of_networks[0]
            if name != RANDOM_WEIGHTS
        }
        explanations.append(Explanations({pair: _mean_of_known([each[pair] for each in agreed]) for pair in agreed[0]}, over))
    return explanations


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
