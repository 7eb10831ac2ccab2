"""More than one explanation of an answer, and how far they agree: Grad-CAM (Selvaraju et al. 2017), occlusion (Zeiler and
Fergus 2014) and integrated gradients (Sundararajan et al. 2017) by captum, and RISE (Petsiuk et al. 2018); and Grad-CAM with the
weights drawn anew (Adebayo et al. 2018).

Where explanations disagree, none of them may be read as where the network looked (Krishna et al. 2022).
"""

import itertools
from collections.abc import Callable

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from darkcovid.audits.gradcam import grad_cam, reinitialized
from darkcovid.audits.occlusion_maps import GRID, occlusion_maps
from darkcovid.audits.rise import MASKS, rise_maps
from darkcovid.core.device import Device, add_channel_dim, predict_batches
from darkcovid.training.loss import class_probabilities

GRADCAM, OCCLUSION, RISE, GRADIENTS = METHODS = "Grad-CAM", "occlusion", "RISE", "integrated gradients"
RANDOM_WEIGHTS = "Grad-CAM of random weights"
RANDOM_PAIR = f"{GRADCAM}, {RANDOM_WEIGHTS}"
LEAST, MOST_RANDOM = 0.3, 0.7  # mean correlation of METHODS, and of Grad-CAM with that of random weights
MAX_EXPLAINED = 4  # images of a fit that are explained by every method
STEPS = 24
SEED = 0


def explanation_maps(
    network: nn.Module,
    normalizer: nn.Module,
    pixels: np.ndarray,
    targets: np.ndarray,
    gray: int,
    compute: Device,
    masks: int = MASKS,
    between: Callable[[], None] = lambda: None,
) -> dict[str, np.ndarray]:
    """What each method says was important for a class.

    Args:
        network: The classifier.
        normalizer: Of its inputs.
        pixels: (m, h, w) or (m, c, h, w) uint8.
        targets: (m,) int classes; of a network with one logit, class 1 is its opposite.
        gray: What hides a part and where gradients start, 0..255.
        compute: Device.
        masks: Of RISE.
        between: Called between batches, for whoever else waits for the network; what it raises ends the work.

    Returns:
        (m, h, w) float32 each, not negative: of METHODS, and RANDOM_WEIGHTS, Grad-CAM of the network with random weights.
    """

    def answer(some: np.ndarray) -> np.ndarray:
        with torch.enable_grad():  # captum forbids gradients while it occludes, and others may need them
            between()
        logits = torch.cat(list(predict_batches(network, some, normalizer, compute)))
        return class_probabilities(logits).numpy()

    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        untrained = reinitialized(network)
    return {
        GRADCAM: grad_cam(network, normalizer, pixels, targets, compute),
        OCCLUSION: occlusion_maps(answer, pixels, targets, gray),
        RISE: rise_maps(answer, pixels, targets, gray, masks),
        GRADIENTS: integrated_gradients(network, normalizer, pixels, targets, gray, compute),
        RANDOM_WEIGHTS: grad_cam(untrained, normalizer, pixels, targets, compute),
    }


def integrated_gradients(
    network: nn.Module, normalizer: nn.Module, pixels: np.ndarray, targets: np.ndarray, gray: int, compute: Device
) -> np.ndarray:
    """Integrated gradients of a class's probability from an even gray, summed over channels; what lowers it is 0.

    Args:
        network: The classifier.
        normalizer: Of its inputs.
        pixels: (m, h, w) or (m, c, h, w) uint8.
        targets: (m,) int classes.
        gray: Of the even image, 0..255.
        compute: Device.

    Returns:
        (m, h, w) float32, not negative.
    """
    network.eval().to(compute.device)
    normalizer.to(compute.device)
    from captum.attr import IntegratedGradients

    explainer = IntegratedGradients(lambda images: class_probabilities(network(normalizer(images)).float()))
    maps = []
    for image, target in zip(pixels, targets.tolist(), strict=True):
        inputs = add_channel_dim(torch.from_numpy(np.array(image[None]))).to(compute.device).float() / 255
        start = torch.full_like(inputs, gray / 255)
        signed = explainer.attribute(inputs, start, target=target, n_steps=STEPS, internal_batch_size=STEPS)
        maps.append(signed[0].sum(0).relu().detach().float().cpu().numpy())
    return np.stack(maps).astype(np.float32)


def most_confident(probabilities: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Images with confident answers: the most confident wrong and right one of each class, and of these in turn the most
    confident wrong and right one, MAX_EXPLAINED at most.

    Args:
        probabilities: (n, classes) float.
        labels: (n,) int.
        rows: (m,) int, among which they are.

    Returns:
        (k,) int of `rows`.
    """
    order = rows[np.argsort(-probabilities[rows].max(1), kind="stable")]
    right = probabilities[order].argmax(1) == labels[order]
    of_kind = [order[right == wanted] for wanted in (False, True)]
    firsts = [some[np.sort(np.unique(labels[some], return_index=True)[1])].tolist() for some in of_kind]
    in_turn = [row for pair in itertools.zip_longest(*firsts) for row in pair if row is not None]
    return np.array(in_turn[:MAX_EXPLAINED], int)


def rank_agreement(first: np.ndarray, second: np.ndarray) -> float | None:
    """Spearman's correlation of two maps over 8x8 patches, which is as fine as occlusion is.

    Args:
        first: (h, w) float.
        second: (h, w) float.

    Returns:
        -1 to 1; None where a map is even.
    """
    patches = [_patch_means(each) for each in (first, second)]
    if any(np.ptp(each) <= 1e-12 for each in patches):
        return None
    return float(spearmanr(*patches).statistic)


def agreements(maps: dict[str, np.ndarray]) -> dict[str, float | None]:
    """How far the explanations of one image agree, pair by pair, and how far Grad-CAM does with that of random weights.

    Args:
        maps: (h, w) each, by method, as `explanation_maps` names them.

    Returns:
        Correlations by `METHOD, METHOD`.
    """
    pairs = [*itertools.combinations(METHODS, 2), (GRADCAM, RANDOM_WEIGHTS)]
    return {f"{first}, {second}": rank_agreement(maps[first], maps[second]) for first, second in pairs}


def mean_agreement(agreement: dict[str, float | None]) -> float | None:
    """The mean rank correlation of METHODS with one another, without those that are not known.

    Args:
        agreement: As `agreements` gives it.

    Returns:
        -1 to 1; None where none is known.
    """
    known = [value for pair, value in agreement.items() if value is not None and pair != RANDOM_PAIR]
    return float(np.mean(known)) if known else None


def agreement_words(agreement: dict[str, float | None]) -> str:
    """What agreement says, in two sentences.

    Args:
        agreement: As `agreements` gives it, of an image or as means over several.

    Returns:
        Of the four methods, and of random weights.
    """
    mean, random = mean_agreement(agreement), agreement[RANDOM_PAIR]
    methods = f"{', '.join(METHODS[:-1])} and {METHODS[-1]}"
    if mean is None:
        first = f"How far {methods} agree is not known: their maps have one value everywhere."
    elif mean < LEAST:
        first = (
            f"{methods} disagree (mean rank correlation {mean:.2f} over 8x8 patches): "
            "none of them shows where the network looked."
        )
    else:
        first = f"{methods} agree with a mean rank correlation of {mean:.2f} over 8x8 patches."
    if random is None:
        return f"{first} Whether Grad-CAM changes with the weights is not known: a map has one value everywhere."
    meaning = "says little of what was learned" if random >= MOST_RANDOM else "changes with the weights"
    return f"{first} Grad-CAM correlates with that of random weights by {random:.2f}: it {meaning} (Adebayo et al. 2018)."


def agreement_warnings(agreement: dict[str, float | None], least: float = LEAST, most_random: float = MOST_RANDOM) -> list[str]:
    """What a reader of the maps must know.

    Args:
        agreement: As `agreements` gives it.
        least: Mean correlation of the four methods below which they disagree.
        most_random: Correlation from which on Grad-CAM hangs on the architecture, not on what was learned.

    Returns:
        Sentences; none where nothing is to be said.
    """
    mean, random, said = mean_agreement(agreement), agreement[RANDOM_PAIR], []
    if mean is None or mean < least:
        value = "a map has one value everywhere" if mean is None else f"mean rank correlation {mean:.2f}"
        said.append(f"the explanations disagree ({value}): none of them shows where the network looked")
    if random is not None and random >= most_random:
        said.append(
            f"Grad-CAM looks the same with random weights (rank correlation {random:.2f}): it says little of what was learned"
        )
    return said


def _patch_means(image: np.ndarray) -> np.ndarray:
    height, width = image.shape
    patch = (np.arange(height) * GRID // height)[:, None] * GRID + np.arange(width) * GRID // width
    counts = np.bincount(patch.ravel(), minlength=GRID**2)
    return np.bincount(patch.ravel(), image.ravel(), GRID**2)[counts > 0] / counts[counts > 0]
