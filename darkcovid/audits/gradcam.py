"""Where does a fitted classifier look? Grad-CAM (Selvaraju et al. 2017) by captum, and the share of it inside the lungs.

The same is done with the network's weights spread anew (Adebayo et al. 2018): a map that looks alike then says nothing about
what was learned.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from darkcovid.audits.occlusion import MAX_OCCLUSION_IMAGES
from darkcovid.core.array_cache import StoredArray
from darkcovid.core.device import Device, add_channel_dim
from darkcovid.data.cohort import Cohort
from darkcovid.data.splits import evenly_spaced
from darkcovid.evaluation.results import LungAttention
from darkcovid.lungs.crop import LungRegions
from darkcovid.models.feature_layer import last_conv_layer

BATCH = 32


@dataclass(frozen=True)
class GradCamResult:
    """Grad-CAM of some images.

    Attributes:
        rows: (m,) int, which of the cohort.
        maps: (m, h, w) float32, not negative, for the predicted class.
        table: image, label, predicted, confidence, inside_lungs (share of the heatmap, nan where the lung mask is rejected).
        summary: By class.
    """

    rows: np.ndarray
    maps: np.ndarray
    table: pd.DataFrame
    summary: dict[str, LungAttention]


def gradcam_lung_overlap(
    network: nn.Module,
    normalizer: nn.Module,
    pixels: StoredArray,
    probabilities: np.ndarray,
    lungs: LungRegions,
    cohort: Cohort,
    compute: Device,
) -> GradCamResult:
    """Grad-CAM of every validation image, of 1,000 of them where there are more, and how much of it lies inside the lungs.

    Args:
        network: The classifier.
        normalizer: Of its inputs.
        pixels: (n, h, w) or (n, c, h, w) uint8.
        probabilities: (n, classes) float.
        lungs: Where the lungs are in the pixels.
        cohort: n images.
        compute: Device.

    Returns:
        Heatmaps and shares.
    """
    rows = evenly_spaced(np.flatnonzero(cohort.valid), MAX_OCCLUSION_IMAGES)
    predicted = probabilities[rows].argmax(1)
    maps = grad_cam(network, normalizer, pixels[rows], predicted, compute)
    untrained_maps = grad_cam(reinitialized(network), normalizer, pixels[rows], predicted, compute)
    areas = lung_areas(lungs, rows)
    shares = {
        name: fraction_inside_lungs(heatmaps, areas, lungs.trusted[rows])
        for name, heatmaps in (("trained", maps), ("fresh", untrained_maps))
    }
    table = heatmap_table(cohort, rows, probabilities, shares["trained"])
    labels = table.label.to_numpy()
    area = np.where(lungs.trusted[rows], areas.mean((1, 2)), np.nan)
    summary = {
        name: LungAttention(
            inside_lungs=mean_of_known(shares["trained"][labels == name]),
            inside_lungs_of_fresh_weights=mean_of_known(shares["fresh"][labels == name]),
            lungs_of_picture=mean_of_known(area[labels == name]),
        )
        for name in cohort.classes
    }
    return GradCamResult(rows, maps, table, summary)


def grad_cam(network: nn.Module, normalizer: nn.Module, pixels: np.ndarray, targets: np.ndarray, compute: Device) -> np.ndarray:
    """Grad-CAM (Selvaraju et al. 2017) at the last convolution of many channels, enlarged to the image.

    Args:
        network: The classifier.
        normalizer: Of its inputs.
        pixels: (m, h, w) or (m, c, h, w) uint8.
        targets: (m,) int classes; of a network with one logit, class 1 is its opposite.
        compute: Device.

    Returns:
        (m, h, w) float32.
    """
    from captum.attr import LayerGradCam

    network.eval().to(compute.device)
    normalizer.to(compute.device)
    explainer, size = LayerGradCam(network, last_conv_layer(network)), pixels.shape[-2:]
    maps = []
    for start in range(0, len(pixels), BATCH):
        block = add_channel_dim(torch.from_numpy(np.array(pixels[start : start + BATCH]))).to(compute.device)
        classes = torch.from_numpy(targets[start : start + BATCH]).to(compute.device)
        inputs = normalizer(block.float() / 255).requires_grad_()
        maps.append(_gradcam_batch(explainer, inputs, classes, size))
    return np.concatenate(maps)


def reinitialized(network: nn.Module) -> nn.Module:
    """A copy whose layers have fresh weights."""
    untrained = copy.deepcopy(network)
    for layer in untrained.modules():
        reset = getattr(layer, "reset_parameters", None)
        if callable(reset):
            reset()
    return untrained


def _gradcam_batch(explainer: Any, inputs: torch.Tensor, classes: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    outputs = explainer.forward_func(inputs[:1].detach()).shape[1]
    signed = explainer.attribute(inputs, target=classes if outputs > 1 else 0)
    if outputs == 1:
        signed = signed * torch.where(classes == 0, 1.0, -1.0).view(-1, 1, 1, 1)
    from captum.attr import LayerAttribution

    large = LayerAttribution.interpolate(signed.relu(), size, interpolate_mode="bilinear")
    return large[:, 0].detach().float().cpu().numpy()


def lung_areas(lungs: LungRegions, rows: np.ndarray) -> np.ndarray:
    """Where the lungs are in the first channel of some images.

    Args:
        lungs: Of n images.
        rows: (m,) int, which.

    Returns:
        (m, h, w) uint8, 1 inside the lungs.
    """
    return lungs.areas[rows] if lungs.areas.ndim == 3 else lungs.areas[rows][:, 0]


def heatmap_table(cohort: Cohort, rows: np.ndarray, probabilities: np.ndarray, inside: np.ndarray) -> pd.DataFrame:
    """What is known of images with heatmaps.

    Args:
        cohort: n images.
        rows: (m,) int, which.
        probabilities: (n, classes) float.
        inside: (m,) share of each heatmap inside the lungs, nan where it is not known.

    Returns:
        Columns image, label, predicted, confidence, inside_lungs.
    """
    names = np.array(cohort.classes)
    return pd.DataFrame(
        {
            "image": cohort.rows.path.to_numpy()[rows],
            "label": names[cohort.labels[rows]],
            "predicted": names[probabilities[rows].argmax(1)],
            "confidence": probabilities[rows].max(1),
            "inside_lungs": inside,
        }
    )


def fraction_inside_lungs(maps: np.ndarray, areas: np.ndarray, trusted: np.ndarray) -> np.ndarray:
    """The share of each heatmap that lies inside the lungs.

    Args:
        maps: (m, h, w) float, not negative.
        areas: (m, h, w), above 0 inside the lungs.
        trusted: (m,) bool, whether the mask is accepted.

    Returns:
        (m,) float, nan where the mask is rejected or the map is empty.
    """
    total = maps.sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(trusted & (total > 0), (maps * (areas > 0)).sum((1, 2)) / total, np.nan)


def mean_of_known(values: np.ndarray) -> float | None:
    """The mean of those that are finite; None where none is.

    Args:
        values: (m,) float.

    Returns:
        The mean.
    """
    known: Any = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
