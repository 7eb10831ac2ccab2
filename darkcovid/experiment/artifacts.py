"""What an arm leaves in its folder: who was on which side, what was predicted, the weights, pictures, and what it cost."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from torch import nn

from darkcovid.audit.baselines import statistic_ranges
from darkcovid.audit.gradcam import GradCamResult
from darkcovid.core.array_cache import StoredArray
from darkcovid.core.device import Device
from darkcovid.core.io import write_text
from darkcovid.core.safetensors_io import write_safetensors
from darkcovid.data.cohort import Cohort
from darkcovid.data.decode import load_grayscale
from darkcovid.data.normalize import normalizer_config
from darkcovid.data.splits import evenly_spaced
from darkcovid.experiment.fingerprint import cohort_table
from darkcovid.lungs.segment import LungMasks
from darkcovid.recipe import Recipe
from darkcovid.report.overlays import UNTRUSTED, contact_sheet, heatmap_overlay, lung_overlay
from darkcovid.training.fit import FitResult

GALLERY_SIZE = 12
SUREST = 2
MAX_STATISTICS_IMAGES = 1000  # images of which the usual statistics are taken


def write_split(folder: Path, cohort: Cohort, reasons: tuple[str | None, ...]) -> None:
    """`split.csv`: image, patient, label, side, why its lung mask was not trusted ('' where it was), and the file's SHA-256."""
    table = cohort_table(cohort)
    table.insert(4, "lungs_untrusted", [reason or "" for reason in reasons])
    write_text(folder / "split.csv", table.to_csv(index=False))


def prediction_table(cohort: Cohort, probabilities: np.ndarray) -> pd.DataFrame:
    """`predictions.csv`: image, patient, side, label, predicted, sex, view, age, and a probability column for each class."""
    table = pd.DataFrame(
        {
            "image": cohort.rows.path,
            "patient": cohort.patients,
            "side": cohort.side_names,
            "label": [cohort.classes[label] for label in cohort.labels],
            "predicted": [cohort.classes[index] for index in probabilities.argmax(1)],
            **{name: cohort.rows[name] for name in ("sex", "view", "age")},
        }
    )
    return table.assign(**{f"probability_{name}": probabilities[:, index] for index, name in enumerate(cohort.classes)})


def save_weights(
    network: nn.Module, recipe: Recipe, cohort: Cohort, pixels: StoredArray, normalizer: nn.Module, path: Path
) -> None:
    """A classifier's float32 weights, and its normalizer's under `normaliser.`, with what is needed to rebuild and feed it,
    and what is usual among its training images, in the file's metadata."""
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


def timing(fitted: FitResult, compute: Device, size: tuple[int, int]) -> dict[str, Any]:
    """Where an arm's training time went, in seconds over all epochs, and what else it cost. `train_seconds` counts
    training and validation; images per second count the training set only."""
    history = fitted.history
    training = history.total("data_seconds") + history.total("step_seconds")
    return {
        "image_size": list(size),
        "pixels_per_image": size[0] * size[1],
        "epochs": len(history.rows),
        "train_seconds": history.total("seconds"),
        "epoch_seconds": float(np.median([row["seconds"] for row in history.rows])),
        "data_wait_seconds": history.total("data_seconds"),
        "forward_backward_seconds": history.total("step_seconds"),
        "validation_seconds": history.total("valid_seconds"),
        "train_images_per_second": history.total("train_images") / training,
        "device": compute.device.type,
        "precision": compute.precision,
        **fitted.cost.as_dict(),
    }


def rejected_mask_gallery(cohort: Cohort, found: LungMasks) -> Image.Image:
    """The first images whose lungs were not trusted, each over its name and the reason."""
    rows = np.flatnonzero(~found.trusted)[:GALLERY_SIZE]
    pictures = [
        lung_overlay(load_grayscale(cohort.files[row]), [(found.masks[row].astype(bool), UNTRUSTED)], None) for row in rows
    ]
    captions = [f"{PurePosixPath(cohort.rows.path[row]).name}: {found.reasons[row]}" for row in rows]
    return contact_sheet(pictures, captions)


def gradcam_gallery(found: GradCamResult, pixels: StoredArray, classes: Sequence[str]) -> Image.Image:
    """Of each class the surest right and the surest wrong answers, under what the network looked at."""
    table, chosen = found.table, []
    for name in classes:
        for right in (True, False):
            of_class = table[(table.label == name) & ((table.predicted == name) == right)]
            chosen += of_class.nlargest(SUREST, "confidence").index.tolist()
    pictures, captions = [], []
    for place in chosen:
        row = table.loc[place]
        seen = pixels[found.rows[place]]
        pictures.append(heatmap_overlay(seen if seen.ndim == 2 else seen[0], found.maps[place]))
        captions.append(f"{row.label} called {row.predicted} ({row.confidence:.2f})")
    return contact_sheet(pictures, captions)
