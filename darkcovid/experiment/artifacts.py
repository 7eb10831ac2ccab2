"""What an arm leaves in its folder: the split, the predictions, the weights and images."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from PIL import Image
from torch import nn

from darkcovid.audits.baselines import statistic_ranges
from darkcovid.audits.gradcam import GradCamResult
from darkcovid.core.array_cache import StoredArray
from darkcovid.core.io import write_text
from darkcovid.core.safetensors_io import write_safetensors
from darkcovid.data.cohort import Cohort
from darkcovid.data.decode import load_grayscale
from darkcovid.data.normalize import normalizer_config
from darkcovid.data.splits import evenly_spaced
from darkcovid.experiment.fingerprint import cohort_table
from darkcovid.lungs.segment import LungMasks
from darkcovid.metrics.classification import probability_columns
from darkcovid.recipe import Recipe
from darkcovid.report.overlays import UNTRUSTED, contact_sheet, heatmap_overlay, lung_overlay

GALLERY_SIZE = 12
EXAMPLES_PER_CLASS = 2  # of correct and of wrong predictions each
MAX_STATISTICS_IMAGES = 1000  # training images whose statistics are taken


def write_split(folder: Path, cohort: Cohort, reasons: tuple[str | None, ...]) -> None:
    """Write `split.csv`: image, patient, label, set, why its lung mask was rejected, and the file's SHA-256.

    Args:
        folder: The fit's.
        cohort: Its images.
        reasons: Why each image's mask was rejected; None where it was accepted, which the table shows as ''.
    """
    table = cohort_table(cohort).assign(side=cohort.used_as)
    table.insert(4, "lungs_untrusted", [reason or "" for reason in reasons])
    write_text(folder / "split.csv", table.to_csv(index=False))


def prediction_table(cohort: Cohort, probabilities: np.ndarray) -> pd.DataFrame:
    """The table of `predictions.csv`.

    Args:
        cohort: The images.
        probabilities: (n, classes) float, rows sum to 1.

    Returns:
        (n,) rows: image, patient, side (the set), label, predicted, sex, view, age, and `probability_<class>` of each class.
    """
    table = pd.DataFrame(
        {
            "image": cohort.rows.path,
            "patient": cohort.patients,
            "side": cohort.used_as,
            "label": [cohort.classes[label] for label in cohort.labels],
            "predicted": [cohort.classes[index] for index in probabilities.argmax(1)],
            **{name: cohort.rows[name] for name in ("sex", "view", "age")},
        }
    )
    return table.join(pd.DataFrame(probabilities, table.index, probability_columns(cohort.classes)))


def save_weights(
    network: nn.Module, recipe: Recipe, cohort: Cohort, pixels: StoredArray, normalizer: nn.Module, path: Path
) -> None:
    """Write a classifier's float32 weights, and its normalizer's under `normaliser.`, as one safetensors file.

    The file's metadata has what is needed to rebuild and feed the network, and the ranges of simple statistics of its training
    images, by which an unusual image is told later.

    Args:
        network: The fitted classifier.
        recipe: Of the fit.
        cohort: Whose training set the network was fitted to.
        pixels: (n, ..., h, w) uint8, the cohort's inputs.
        normalizer: Of the network's inputs.
        path: The file.
    """
    about = {
        "model": recipe.model.model_dump(mode="json"),
        "classes": cohort.classes,
        "image_size": pixels.shape[-2:],
        "usual": statistic_ranges(pixels, evenly_spaced(np.flatnonzero(cohort.train), MAX_STATISTICS_IMAGES)),
        "normalise": recipe.data.normalize,
        "normaliser": normalizer_config(normalizer),
    }
    tensors = dict(network.state_dict())
    tensors |= {f"normaliser.{key}": value for key, value in normalizer.state_dict().items()}
    write_safetensors(path, tensors, about)


def rejected_mask_gallery(cohort: Cohort, lungs: LungMasks) -> Image.Image:
    """The first images whose lung masks were rejected.

    Args:
        cohort: The images.
        lungs: Their masks.

    Returns:
        A contact sheet, each image over its name and the reason.
    """
    rows = np.flatnonzero(~lungs.trusted)[:GALLERY_SIZE]
    images = [lung_overlay(load_grayscale(cohort.files[row]), [(lungs.masks[row].astype(bool), UNTRUSTED)], None) for row in rows]
    captions = [f"{PurePosixPath(cohort.rows.path[row]).name}: {lungs.reasons[row]}" for row in rows]
    return contact_sheet(images, captions)


def gradcam_gallery(gradcam: GradCamResult, pixels: StoredArray, classes: Sequence[str]) -> Image.Image:
    """Of each class the most confident correct and wrong predictions, with their Grad-CAM heatmaps.

    Args:
        gradcam: Heatmaps of some images.
        pixels: (n, h, w) or (n, c, h, w) uint8 of the whole cohort.
        classes: In the order of the network's outputs.

    Returns:
        A contact sheet, each image over its label, prediction and probability.
    """
    table, places = gradcam.table, []
    for name in classes:
        for correct in (True, False):
            of_class = table[(table.label == name) & ((table.predicted == name) == correct)]
            places += of_class.nlargest(EXAMPLES_PER_CLASS, "confidence").index.tolist()
    images, captions = [], []
    for place in places:
        row, image = table.loc[place], pixels[gradcam.rows[place]]
        images.append(heatmap_overlay(image if image.ndim == 2 else image[0], gradcam.maps[place]))
        captions.append(f"{row.label}, predicted {row.predicted} ({row.confidence:.2f})")
    return contact_sheet(images, captions)
