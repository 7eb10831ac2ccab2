"""Labels that networks doubt: confident learning (Northcutt et al. 2021) on predictions of images that were not trained on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues

from darkcovid.metrics.classification import probability_columns
from darkcovid.metrics.confidence_intervals import accuracy
from darkcovid.metrics.metrics_with_intervals import codes_of

COLUMNS = ("image", "patient", "label", "suggested", "label_quality")


@dataclass(frozen=True)
class LabelPair:
    """Images of one label that a network takes for another."""

    label: str
    suggested: str
    images: int


@dataclass(frozen=True)
class LabelErrors:
    """What confident learning makes of an arm's predictions.

    Attributes:
        arm: Whose predictions.
        images: That were judged.
        suspects: Of them, how many may have a wrong label.
        pairs: The suspects by label and by suggested label, the most frequent first.
        accuracy: Of the predictions, on all images.
        accuracy_without: On the images that are not suspected: what remains is no proof, since suspects are images that the
            network gets wrong.
    """

    arm: str
    images: int
    suspects: int
    pairs: tuple[LabelPair, ...]
    accuracy: float
    accuracy_without: float

    def as_dict(self) -> dict[str, Any]:
        """As in `label_errors.json`."""
        return asdict(self)


def find_label_errors(predictions: pd.DataFrame, classes: Sequence[str], arm: str) -> tuple[LabelErrors, pd.DataFrame] | None:
    """Images whose label may be wrong.

    A class's threshold is the mean probability that its images get; an image is suspected where another class passes its own,
    pruned by the estimated noise rate of each pair of classes (cleanlab's `prune_by_noise_rate`).

    Args:
        predictions: image, patient, label and `probability_<class>`; rows of one image are averaged. None may be of an image
            that its fit was trained on.
        classes: In the order of the probabilities.
        arm: Whose predictions.

    Returns:
        What was found, and a table of the suspects, the least plausible label first: image, patient, label, suggested,
        label_quality (the label's own probability), and the probabilities. None where a class has no image, or where the
        predictions are not shown to be more accurate than the majority class (by the 95 % interval over patients), so that
        they say nothing of labels.
    """
    columns = probability_columns(classes)
    by_image = predictions.groupby("image", sort=False)
    table = by_image[["patient", "label"]].first().join(by_image[columns].mean()).reset_index()
    labels = table.label.map({name: code for code, name in enumerate(classes)}).to_numpy()
    probabilities = table[columns].to_numpy(float)
    best = probabilities.argmax(1)
    right, images = best == labels, np.bincount(labels, minlength=len(classes))
    if not images.all() or accuracy(right, codes_of(table.patient, len(table))).interval[0] <= images.max() / len(labels):
        return None
    ranked = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    table["suggested"] = [classes[index] for index in best]
    table["label_quality"] = probabilities[np.arange(len(labels)), labels]
    suspects = table.iloc[ranked].reset_index(drop=True)[[*COLUMNS, *columns]]
    counted = suspects.groupby(["label", "suggested"], sort=False).size().sort_values(ascending=False, kind="stable")
    pairs = tuple(LabelPair(label, suggested, int(count)) for (label, suggested), count in counted.items())
    kept = np.ones(len(labels), bool)
    kept[ranked] = False
    found = LabelErrors(arm, len(table), len(suspects), pairs, float(right.mean()), float(right[kept].mean()))
    return found, suspects
