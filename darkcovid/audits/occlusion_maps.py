"""Where does a classifier look that can only be asked? Hide one patch after another, and see how far its answer falls (Zeiler and
Fergus 2014), by captum; and whether hiding what the map calls important first makes it fall faster than hiding anything (deletion
curves, Petsiuk et al. 2018)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from darkcovid.audits.gradcam import GradCamResult, fraction_inside_lungs, heatmap_table, lung_areas, mean_of_known
from darkcovid.core.array_cache import StoredArray
from darkcovid.data.cohort import Cohort
from darkcovid.evaluation.results import LungAttention
from darkcovid.lungs.crop import LungRegions

GRID = 8  # patches per side
AT_ONCE = 16
EXAMPLES_PER_CLASS = 2  # of right and of wrong answers each, the most confident
MAX_IMAGES, MIN_IMAGES = 48, 12
STEPS = 9  # of a deletion curve

PredictFn = Callable[[np.ndarray], np.ndarray]
DrawMaps = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class DeletionCurves:
    """Mean probability of the answer that was given, by the share of the image that is hidden.

    Attributes:
        hidden: (STEPS,) shares, 0 to 1.
        by_map: (STEPS,) what the map calls important first.
        at_random: (STEPS,) patches in random order.
    """

    hidden: np.ndarray
    by_map: np.ndarray
    at_random: np.ndarray

    @property
    def areas(self) -> tuple[float, float]:
        """Under both curves; the first is smaller where maps show what the answer hangs on."""
        return float(np.trapezoid(self.by_map, self.hidden)), float(np.trapezoid(self.at_random, self.hidden))


def examples(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The most confident right and wrong answers of each class, and others, as many as one pass over all images pays for.

    Args:
        probabilities: (n, classes) float.
        labels: (n,) int.

    Returns:
        (m,) int, ascending.
    """
    best, confidence = probabilities.argmax(1), probabilities.max(1)
    order, chosen = np.argsort(-confidence, kind="stable"), []
    for code in range(probabilities.shape[1]):
        for right in (True, False):
            chosen += [row for row in order if labels[row] == code and (best[row] == code) == right][:EXAMPLES_PER_CLASS]
    most = min(MAX_IMAGES, max(MIN_IMAGES, len(labels) // GRID**2))
    rest = np.random.default_rng(0).permutation(len(labels))
    return np.sort(np.array(list(dict.fromkeys([*chosen, *rest.tolist()]))[: max(most, len(set(chosen)))], int))


def occlusion_maps(predict: PredictFn, pixels: np.ndarray, targets: np.ndarray, gray: int) -> np.ndarray:
    """How far the probability of a class falls when a patch becomes gray, 0 where it rises.

    Args:
        predict: (m, ..., h, w) uint8 pixels to (m, classes) probabilities.
        pixels: (m, h, w) or (m, c, h, w) uint8.
        targets: (m,) int classes.
        gray: What hides a patch, 0..255.

    Returns:
        (m, h, w) float32.
    """
    from captum.attr import Occlusion

    inputs = torch.from_numpy(pixels if pixels.ndim == 4 else pixels[:, None]).float()
    height, width = pixels.shape[-2:]
    window = (inputs.shape[1], -(-height // GRID), -(-width // GRID))

    def forward(batch: torch.Tensor) -> torch.Tensor:
        images = batch.round().to(torch.uint8).numpy()
        return torch.from_numpy(predict(images if pixels.ndim == 4 else images[:, 0]))

    maps = []
    for image, target in zip(inputs, targets.tolist(), strict=True):
        falls = Occlusion(forward).attribute(
            image[None],
            sliding_window_shapes=window,
            strides=window,
            target=target,
            baselines=float(gray),
            perturbations_per_eval=AT_ONCE,
        )
        maps.append(falls[0, 0].relu().numpy())
    return np.stack(maps).astype(np.float32)


def occlusion_lung_overlap(
    predict: PredictFn,
    pixels: StoredArray,
    probabilities: np.ndarray,
    lungs: LungRegions,
    cohort: Cohort,
    gray: int,
    draw: DrawMaps | None = None,
) -> tuple[GradCamResult, DeletionCurves]:
    """Maps of some images, how much of them lies inside the lungs, and their deletion curves.

    Args:
        predict: (m, ..., h, w) uint8 pixels to (m, classes) probabilities.
        pixels: (n, h, w) or (n, c, h, w) uint8.
        probabilities: (n, classes) float.
        lungs: Where the lungs are in the pixels.
        cohort: n images.
        gray: What hides a patch, 0..255.
        draw: (m, ..., h, w) uint8 pixels and (m,) int classes to (m, h, w) maps, not negative; None: by occlusion.

    Returns:
        Maps in the form of Grad-CAM's, without those of randomly initialized networks, and curves.
    """
    rows = examples(probabilities, cohort.labels)
    shown, predicted = np.array(pixels[rows]), probabilities[rows].argmax(1)
    maps = occlusion_maps(predict, shown, predicted, gray) if draw is None else draw(shown, predicted)
    areas = lung_areas(lungs, rows)
    share = fraction_inside_lungs(maps, areas, lungs.trusted[rows])
    known = np.isfinite(share)
    lung = np.where(lungs.trusted[rows], (areas > 0).mean((1, 2)), np.nan)
    table = heatmap_table(cohort, rows, probabilities, share)
    labels = table.label.to_numpy()
    summary = {
        name: LungAttention(mean_of_known(share[labels == name]), None, mean_of_known(lung[(labels == name) & known]))
        for name in cohort.classes
    }
    return GradCamResult(rows, maps, table, summary), deletion_curves(predict, shown, maps, predicted, gray)


def deletion_curves(predict: PredictFn, pixels: np.ndarray, maps: np.ndarray, targets: np.ndarray, gray: int) -> DeletionCurves:
    """How the answers fall when patches are hidden, the important ones first or in any order.

    Args:
        predict: (m, ..., h, w) uint8 pixels to (m, classes) probabilities.
        pixels: (m, h, w) or (m, c, h, w) uint8.
        maps: (m, h, w) float32.
        targets: (m,) int classes.
        gray: What hides a patch, 0..255.

    Returns:
        The curves, means over the images.
    """
    height, width = pixels.shape[-2:]
    down, across = np.arange(height) * GRID // height, np.arange(width) * GRID // width
    patch = down[:, None] * GRID + across
    importance = np.stack([np.bincount(patch.ravel(), one.ravel(), GRID**2) for one in maps])
    random = np.random.default_rng(0)
    shuffled = np.stack([random.permutation(GRID**2) for _ in maps])
    orders = {"by_map": np.argsort(-importance, 1, kind="stable"), "at_random": shuffled}
    hidden, curves = np.linspace(0, 1, STEPS), {}
    for name, order in orders.items():
        rank = np.argsort(order, 1)[:, patch]
        falls = []
        for share in hidden:
            gone = rank < round(share * GRID**2)
            altered = np.where(gone if pixels.ndim == 3 else gone[:, None], gray, pixels).astype(np.uint8)
            falls.append(float(predict(altered)[np.arange(len(targets)), targets].mean()))
        curves[name] = np.array(falls)
    return DeletionCurves(hidden, curves["by_map"], curves["at_random"])
