"""A few images of a fit under every explanation, and how far the explanations agree: too slow for all of them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import nn

from darkcovid.audits.explanations import agreements, explanation_maps, most_confident
from darkcovid.audits.occlusion import mean_gray
from darkcovid.core.array_cache import StoredArray
from darkcovid.core.device import Device
from darkcovid.data.cohort import Cohort

MASKS = 256  # of RISE: half as many as `predict` takes, since this is done after every fit


@dataclass(frozen=True)
class ExplainedImages:
    """Explanations of the answers to some images.

    Attributes:
        rows: (k,) int, which of the cohort.
        maps: (k, h, w) float32 by method, not negative, for the predicted class.
        table: image, label, predicted, confidence, and the rank correlation of each two methods, nan where a map is even.
    """

    rows: np.ndarray
    maps: dict[str, np.ndarray]
    table: pd.DataFrame

    def of(self, row: int) -> dict[str, np.ndarray]:
        """Maps of an image of the cohort by method; empty of one that is not explained."""
        return {name: maps[place] for place in np.flatnonzero(self.rows == row) for name, maps in self.maps.items()}


def explain_examples(
    network: nn.Module, normalizer: nn.Module, pixels: StoredArray, probabilities: np.ndarray, cohort: Cohort, compute: Device
) -> ExplainedImages:
    """Explain some confident answers, wrong and right ones (`most_confident`), by every method.

    Args:
        network: The classifier.
        normalizer: Of its inputs.
        pixels: (n, h, w) or (n, c, h, w) uint8.
        probabilities: (n, classes) float.
        cohort: n images, of which validation images are explained.
        compute: Device.

    Returns:
        Maps and agreement.
    """
    rows = most_confident(probabilities, cohort.labels, np.flatnonzero(cohort.valid))
    predicted, gray = probabilities[rows].argmax(1), mean_gray(pixels, np.flatnonzero(cohort.train))
    maps = explanation_maps(network, normalizer, pixels[rows], predicted, gray, compute, MASKS)
    names = np.array(cohort.classes)
    about = pd.DataFrame(
        {
            "image": cohort.rows.path.to_numpy()[rows],
            "label": names[cohort.labels[rows]],
            "predicted": names[predicted],
            "confidence": probabilities[rows].max(1),
        }
    )
    agreed = [agreements({name: each[place] for name, each in maps.items()}) for place in range(len(rows))]
    return ExplainedImages(rows, maps, about.join(pd.DataFrame(agreed, dtype=float)))
