"""What does a network get to see? Training images of one arm, as they are and after a few draws of the augmentation."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from darkcovid.compute import pick_compute
from darkcovid.data.augment import Augment
from darkcovid.data.cohort import classification_cohort
from darkcovid.data.pixels import as_channels, save_png
from darkcovid.errors import RequestError
from darkcovid.inputs import InputMaker, chosen_arms
from darkcovid.recipe import Recipe
from darkcovid.report.overlays import gallery
from darkcovid.training.fit import seed_everything

DRAWS = 5


def preview(recipe: Recipe, arm: str | None, cache_dir: Path, each_class: int, path: Path) -> dict[str, Any]:
    """Write a contact sheet of `each_class` training images of every class to `path`, one a row: first as it is, then five
    draws. Returns arm, images (their names) and plot. Raises RequestError: not a classification recipe, no such arm."""
    if recipe.task != "classification":
        raise RequestError("task: data preview works on classification recipes")
    name = chosen_arms(recipe, [arm] if arm else [])[0]
    cohort = classification_cohort(recipe.data, cache_dir)
    inputs = InputMaker(recipe, cohort, pick_compute(recipe.training.device), cache_dir).make(name)
    rows = [
        row
        for label in range(len(cohort.classes))
        for row in np.flatnonzero(cohort.train & (cohort.labels == label))[:each_class]
    ]
    seed_everything(recipe.training.seed)
    augmentation = inputs.recipe.data.augmentation
    pictures, captions = [], []
    for row in rows:
        pictures.append(Image.fromarray(_side_by_side(inputs.pixels[row])))
        captions.append(f"{cohort.classes[cohort.labels[row]]}: {Path(cohort.rows.path[row]).name}")
        if augmentation is not None:
            copies = as_channels(torch.from_numpy(inputs.pixels[[row] * DRAWS])).float() / 255
            seen = (Augment(augmentation).altered(copies) * 255).round().byte().numpy()
            pictures += [Image.fromarray(_side_by_side(image)) for image in seen]
            captions += [""] * DRAWS
    save_png(gallery(pictures, captions, columns=1 if augmentation is None else DRAWS + 1, side=192), path)
    return {"arm": name, "images": [cohort.rows.path[row] for row in rows], "plot": str(path)}


def _side_by_side(channels: np.ndarray) -> np.ndarray:
    """(h, w) or (c, h, w) to one gray picture, channels beside one another."""
    return np.array(channels) if channels.ndim == 2 else np.concatenate(list(channels), 1)
