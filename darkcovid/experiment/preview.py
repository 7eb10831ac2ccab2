"""What does a network get to see? Training images of one arm, as they are and after a few draws of the augmentation."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from darkcovid.core.device import add_channel_dim, get_device
from darkcovid.core.errors import UsageError
from darkcovid.core.io import save_png
from darkcovid.data.augment import Augment
from darkcovid.data.cohort import load_classification_cohort
from darkcovid.recipe import Recipe
from darkcovid.report.overlays import contact_sheet
from darkcovid.training.fit import seed_everything
from darkcovid.vision.arm_inputs import InputBuilder, select_arms

DRAWS = 5


def preview(recipe: Recipe, arm: str | None, cache_dir: Path, each_class: int, path: Path) -> dict[str, Any]:
    """Write a contact sheet of training images, one per row: first as it is, then five draws of the augmentation.

    Args:
        recipe: Of the whole run.
        arm: Whose inputs; None takes the first.
        cache_dir: Where decoded images are kept.
        each_class: How many images of every class.
        path: The PNG file.

    Returns:
        `arm`, `images` (their names) and `plot`.

    Raises:
        UsageError: The recipe is not of a classifier, or has no such arm.
    """
    if recipe.task != "classification":
        raise UsageError("task: data preview works on classification recipes")
    name = select_arms(recipe, [arm] if arm else [])[0]
    cohort = load_classification_cohort(recipe.data, cache_dir)
    inputs = InputBuilder(recipe, cohort, get_device(recipe.training.device), cache_dir).make(name)
    rows = [
        row
        for label in range(len(cohort.classes))
        for row in np.flatnonzero(cohort.train & (cohort.labels == label))[:each_class]
    ]
    seed_everything(recipe.training.seed)
    augmentation = inputs.recipe.data.augmentation
    images, captions = [], []
    for row in rows:
        images.append(Image.fromarray(_concat_channels(inputs.pixels[row])))
        captions.append(f"{cohort.classes[cohort.labels[row]]}: {Path(cohort.rows.path[row]).name}")
        if augmentation is not None:
            copies = add_channel_dim(torch.from_numpy(inputs.pixels[[row] * DRAWS])).float() / 255
            augmented = (Augment(augmentation).altered(copies) * 255).round().byte().numpy()
            images += [Image.fromarray(_concat_channels(image)) for image in augmented]
            captions += [""] * DRAWS
    save_png(contact_sheet(images, captions, columns=1 if augmentation is None else DRAWS + 1, side=192), path)
    return {"arm": name, "images": [cohort.rows.path[row] for row in rows], "plot": str(path)}


def _concat_channels(channels: np.ndarray) -> np.ndarray:
    """(h, w) or (c, h, w) to one gray image, channels beside one another."""
    return np.array(channels) if channels.ndim == 2 else np.concatenate(list(channels), 1)
